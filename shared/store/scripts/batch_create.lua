-- ARGV: id, owner, name, options, total, idempotency key, body hash, bytes of Redis's memory that all members take, id of
-- the request, versions of the models, sharer, bytes that their files take of the disk, bytes that the disk has left.
-- Returns {outcome, id}.
-- The batch is held until it is opened: no member runs before all of them are known.
local id, owner, total, idem, body = ARGV[1], ARGV[2], ARGV[5], ARGV[6], ARGV[7]

if redis.call('EXISTS', batch(id)) == 1 then return {'created', id} end  -- this very call, sent again
local idem_key = key('idempotency', owner .. ':' .. idem)
if idem ~= '' then
  local known = redis.call('HMGET', idem_key, 'id', 'body')
  if known[1] then return {known[2] == body and 'created' or 'conflict', known[1]} end
end

-- What batches that are being filled have still to bring takes no memory yet, and has its room already.
local memory, sharer, disk, room = tonumber(ARGV[8]), ARGV[11], tonumber(ARGV[12]), tonumber(ARGV[13])
local MEMORY_SHARE = 0.75  -- the rest is left to interactive jobs, and to every job's end
local left, own = left_of(MEMORY_SHARE), 0
for _, other in ipairs(redis.call('ZRANGE', key('filling'), 0, -1)) do
  local state = redis.call('HMGET', batch(other), 'coming', 'sharer')
  left = left - (state[1] or 0)
  if state[2] == sharer then own = own + (state[1] or 0) end
end
if over_share('memory', sharer, memory, left, own) then return {'memory share', id} end
if memory > left then return {'full', id} end
if over_share('disk', sharer, disk, room) then return {'disk share', id} end

redis.call('HSET', batch(id), 'owner', owner, 'name', ARGV[3], 'options', ARGV[4], 'total', total,
  'idempotency', idem, 'created', now, 'status', 'filling', 'queued', 0, 'running', 0,
  'request', ARGV[9], 'versions', ARGV[10], 'sharer', sharer, 'coming', memory)
redis.call('ZADD', key('filling'), now, id)
if idem ~= '' then redis.call('HSET', idem_key, 'id', id, 'body', body) end
return {'created', id}
