-- ARGV: most, tombstone ms. Removes terminal jobs whose time is over, and their blobs' counts. Returns their ids.
go_on_when_full()
local most, tombstone_ms, gone = tonumber(ARGV[1]), ARGV[2], {}

local function drop_blob(ref)
  if ref and ref ~= '' and redis.call('HINCRBY', key('blobs'), ref, -1) <= 0 then
    redis.call('HDEL', key('blobs'), ref)
    return true
  end
end

local function forget_key(owner, idempotency)
  if idempotency ~= '' then redis.call('DEL', key('idempotency', owner .. ':' .. idempotency)) end
end

local function forget(id)
  local state = redis.call('HMGET', job(id), 'status', 'image_ref', 'result', 'owner', 'idempotency', 'answer',
    'mask_ref')
  drop_blob(state[2])
  drop_blob(state[7])
  local answer = key('answer', state[4] .. ':' .. state[6])
  if drop_blob(state[3]) and redis.call('GET', answer) == state[3] then redis.call('DEL', answer) end
  forget_key(state[4], state[5])
  unlist(id, 'any', state[4])
  unlist(id, state[1], state[4])
  redis.call('DEL', job(id))
  redis.call('ZREM', key('expiry'), id)
  redis.call('ZREM', key('webhooks'), id)
  redis.call('SET', key('tombstone', id), state[4], 'PX', tombstone_ms)
  redis.call('HINCRBY', key('counts'), state[1], -1)
  redis.call('HINCRBY', key('counts'), 'collected', 1)
  table.insert(gone, id)
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('expiry'), '-inf', now, 'LIMIT', 0, most)) do forget(id) end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('batch_expiry'), '-inf', now, 'LIMIT', 0, 10)) do
  local state = redis.call('HMGET', batch(id), 'owner', 'idempotency')
  if state[1] then  -- the record goes first: nobody sees half a batch
    forget_key(state[1], state[2])
    redis.call('DEL', batch(id))
    redis.call('SET', key('tombstone', id), state[1], 'PX', tombstone_ms)
  end
  while #gone < most do
    local member = redis.call('LPOP', key('members', id))
    if not member then break end
    forget(member)
  end
  if redis.call('EXISTS', key('members', id)) == 0 then redis.call('ZREM', key('batch_expiry'), id) end
end
-- A turn that a lane has passed says nothing any more.
for _, lane in ipairs({'interactive', 'bulk'}) do
  local turns = redis.call('HGETALL', key('turns', lane))
  for place = 1, #turns, 2 do
    if tonumber(turns[place + 1]) <= reached(lane) then redis.call('HDEL', key('turns', lane), turns[place]) end
  end
end
return gone
