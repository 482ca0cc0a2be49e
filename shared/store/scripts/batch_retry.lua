-- ARGV: batch, operation id, deadline ms, retention ms, versions of the models, then ids for new jobs. A member that
-- failed or expired gets a new job in its place, as far as the ids reach; the old one keeps its end and leaves the batch.
-- A picture that cannot be decoded stays what it is. Where the models have changed since, no earlier answer is taken, and
-- none is kept for others: the question was put to other versions. Returns 'unknown' or how many there were.
go_on_when_full()
local id, operation, deadline, retention = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local record = redis.call('HMGET', batch(id), 'status', 'retry', 'retried')
if not record[1] then return 'unknown' end
if record[2] == operation then return tonumber(record[3]) end  -- this very call, sent again

local fields = {'status', 'error', 'owner', 'options', 'image', 'image_ref', 'answer', 'solo', 'request', 'versions', 'sharer',
  'memory', 'disk'}
local retried, leaders = 0, {}
for place, old in ipairs(redis.call('LRANGE', key('members', id), 0, -1)) do
  local state = redis.call('HMGET', job(old), unpack(fields))
  local new = ARGV[6 + retried]
  if (state[10] or '') ~= ARGV[5] then state[7] = '' end
  local failed = state[1] == 'failed' and cjson.decode(state[2]).code ~= 'invalid_image'
  if new and (failed or state[1] == 'expired') then
    retried = retried + 1
    if record[1] == 'cancelled' then redis.call('HSET', batch(id), 'status', 'running') end
    redis.call('ZREM', key('batch_expiry'), id)
    redis.call('HDEL', batch(id), 'finished', 'last')
    redis.call('HINCRBY', batch(id), state[1], -1)
    redis.call('HDEL', job(old), 'batch')
    redis.call('ZADD', key('expiry'), now + retention, old)
    redis.call('LSET', key('members', id), place - 1, new)
    admit({id = new, lane = 'bulk', batch = id, owner = state[3], options = state[4], image = state[5],
      image_ref = state[6], answer = state[7], solo = state[8] == '1', request = state[9] or '', deadline = deadline,
      retention = retention, versions = ARGV[5], sharer = state[11] or '',
      memory = tonumber(state[12] or 0), disk = tonumber(state[13] or 0)}, leaders[state[7]])
    if state[7] ~= '' then leaders[state[7]] = leaders[state[7]] or new end
  end
end
redis.call('HSET', batch(id), 'retry', operation, 'retried', retried)
if retried > 0 then end_batch(id, retention) end
return retried
