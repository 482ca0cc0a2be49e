-- ARGV: most, tombstone ms. Removes terminal jobs whose time is over, and their blobs' counts. Returns their ids.
go_on_when_full()
local ids = redis.call('ZRANGEBYSCORE', key('expiry'), '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))
local function drop_blob(ref)
  if ref and ref ~= '' and redis.call('HINCRBY', key('blobs'), ref, -1) <= 0 then
    redis.call('HDEL', key('blobs'), ref)
    return true
  end
end
for _, id in ipairs(ids) do
  local state = redis.call('HMGET', job(id), 'status', 'image_ref', 'result', 'owner', 'idempotency', 'answer')
  drop_blob(state[2])
  local answer = key('answer', state[4] .. ':' .. state[6])
  if drop_blob(state[3]) and redis.call('GET', answer) == state[3] then redis.call('DEL', answer) end
  if state[5] ~= '' then redis.call('DEL', key('idempotency', state[4] .. ':' .. state[5])) end
  redis.call('DEL', job(id))
  redis.call('ZREM', key('jobs'), id)
  redis.call('ZREM', key('expiry'), id)
  redis.call('SET', key('tombstone', id), state[4], 'PX', ARGV[2])
  redis.call('HINCRBY', key('counts'), state[1], -1)
  redis.call('HINCRBY', key('counts'), 'collected', 1)
end
return ids
