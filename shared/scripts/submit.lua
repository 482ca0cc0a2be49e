-- ARGV: id, lane, limit, options, image, image_ref, owner, idempotency key, body hash, answer key, deadline ms, retention ms, solo
local id, lane, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local owner, idem, body, answer = ARGV[7], ARGV[8], ARGV[9], ARGV[10]

if redis.call('EXISTS', job(id)) == 1 then return {'accepted', id} end  -- this very call, sent again
local idem_key = key('idempotency', owner .. ':' .. idem)
if idem ~= '' then
  local known = redis.call('HMGET', idem_key, 'id', 'body')
  if known[1] then return {known[2] == body and 'accepted' or 'conflict', known[1]} end
end

local answered = answer ~= '' and redis.call('GET', key('answer', owner .. ':' .. answer))
if not answered and redis.call('ZCARD', key('lane', lane)) >= limit then return {'full', id} end

local seq = redis.call('INCR', key('sequence'))
redis.call('HSET', job(id), 'lane', lane, 'seq', seq, 'options', ARGV[4], 'image', ARGV[5], 'image_ref', ARGV[6],
  'owner', owner, 'idempotency', idem, 'answer', answer, 'created', now, 'attempts', 0, 'fence', 0,
  'deadline', now + tonumber(ARGV[11]))
if ARGV[13] == '1' then redis.call('HSET', job(id), 'solo', '1') end
redis.call('ZADD', key('jobs'), seq, id)
redis.call('HINCRBY', key('counts'), 'accepted', 1)
keep_blob(ARGV[6])
if idem ~= '' then redis.call('HSET', idem_key, 'id', id, 'body', body) end
move(id, nil, 'queued')
if answered then
  redis.call('HSET', job(id), 'cached', '1', 'started', now)
  conclude(id, 'succeeded', answered, '', tonumber(ARGV[12]))
  return {'answered', id}
end
redis.call('ZADD', key('lane', lane), seq, id)
redis.call('ZADD', key('deadlines'), now + tonumber(ARGV[11]), id)
return {'accepted', id}
