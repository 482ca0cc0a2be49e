-- Puts a new job in the place of each member that failed or expired, as far as the ids reach; the old one keeps its end and
-- leaves the batch. A picture that cannot be decoded stays what it is. Where the models have changed since, no earlier
-- answer is taken, and none is kept for others: the question was put to other versions.
--   batch: its id
--   operation: names this very call, which may be sent again
--   deadline_ms: for how long a new job may wait and run
--   retention_ms: how long a job is kept after its end
--   versions: of the models that are to answer, a JSON text; '': the current ones
--   ids: for new jobs
-- Returns 'unknown', or how many there were.
go_on_when_full()
local id = given.batch
local record = redis.call('HMGET', batch(id), 'status', 'retry', 'retried')
if not record[1] then return 'unknown' end
if record[2] == given.operation then return tonumber(record[3]) end  -- this very call, sent again

local retried, leaders = 0, {}
for place, old in ipairs(redis.call('LRANGE', key('members', id), 0, -1)) do
  local state = redis.call('HMGET', job(old), 'status', 'error', 'owner', 'options', 'image', 'image_ref', 'answer',
    'solo', 'request', 'versions', 'sharer', 'memory', 'disk')
  local new = given.ids[retried + 1]
  if (state[10] or '') ~= given.versions then state[7] = '' end
  local failed = state[1] == 'failed' and cjson.decode(state[2]).code ~= 'invalid_image'
  if new and (failed or state[1] == 'expired') then
    retried = retried + 1
    if record[1] == 'cancelled' then redis.call('HSET', batch(id), 'status', 'running') end
    redis.call('ZREM', key('batch_expiry'), id)
    redis.call('HDEL', batch(id), 'finished', 'last')
    redis.call('HINCRBY', batch(id), state[1], -1)
    redis.call('HDEL', job(old), 'batch')
    redis.call('ZADD', key('expiry'), now + given.retention_ms, old)
    redis.call('LSET', key('members', id), place - 1, new)
    admit({id = new, lane = 'bulk', batch = id, owner = state[3], options = state[4], image = state[5],
      image_ref = state[6], answer = state[7], solo = state[8] == '1', request = state[9] or '',
      deadline_ms = given.deadline_ms, retention_ms = given.retention_ms, versions = given.versions,
      sharer = state[11] or '', memory = tonumber(state[12] or 0), disk = tonumber(state[13] or 0),
      leader = leaders[state[7]]})
    if state[7] ~= '' then leaders[state[7]] = leaders[state[7]] or new end
  end
end
redis.call('HSET', batch(id), 'retry', given.operation, 'retried', retried)
if retried > 0 then end_batch(id, given.retention_ms) end
return retried
