-- Begins a batch. It is held until it is opened: no member runs before all of them are known.
--   id: of the batch
--   owner: id of the API key that it belongs to; '': none
--   name: what its owner calls it
--   options: of all members, a JSON text
--   total: how many members there will be
--   idempotency: key that the caller has chosen; '': none
--   body: hash of the request's body
--   request: id of the request
--   versions: of the models that are to answer, a JSON text; '': the current ones
--   sharer: whose turns, and whose share of memory and disk, the members take
--   memory: bytes of Redis's memory that all members take
--   disk: bytes that their files take of the disk
--   room: bytes that the disk has left; left out: no bound
-- Returns {outcome, id}; the outcome is 'created', 'conflict', 'full', 'memory share' or 'disk share'.
local id, sharer = given.id, given.sharer

if redis.call('EXISTS', batch(id)) == 1 then return {'created', id} end  -- this very call, sent again
local idem_key = key('idempotency', given.owner .. ':' .. given.idempotency)
if given.idempotency ~= '' then
  local known = redis.call('HMGET', idem_key, 'id', 'body')
  if known[1] then return {known[2] == given.body and 'created' or 'conflict', known[1]} end
end

-- What batches that are being filled have still to bring takes no memory yet, and has its room already.
local MEMORY_SHARE = 0.75  -- the rest is left to interactive jobs, and to every job's end
local left, own = left_of(MEMORY_SHARE), 0
for _, other in ipairs(redis.call('ZRANGE', key('filling'), 0, -1)) do
  local state = redis.call('HMGET', batch(other), 'coming', 'sharer')
  left = left - (state[1] or 0)
  if state[2] == sharer then own = own + (state[1] or 0) end
end
if over_share('memory', sharer, given.memory, left, own) then return {'memory share', id} end
if given.memory > left then return {'full', id} end
if over_share('disk', sharer, given.disk, given.room or math.huge) then return {'disk share', id} end

redis.call('HSET', batch(id), 'owner', given.owner, 'name', given.name, 'options', given.options, 'total', given.total,
  'idempotency', given.idempotency, 'created', now, 'status', 'filling', 'queued', 0, 'running', 0,
  'request', given.request, 'versions', given.versions, 'sharer', sharer, 'coming', given.memory)
redis.call('ZADD', key('filling'), now, id)
if given.idempotency ~= '' then redis.call('HSET', idem_key, 'id', id, 'body', given.body) end
return {'created', id}
