-- Removes terminal jobs whose time is over, and their blobs' counts. What was to be forgotten at once (its time is 0) leaves
-- no tombstone: a caller could fill the memory with them.
--   most: how many
--   tombstone_ms: for how long it is known that a job was there
-- Returns {ids of the jobs, references of blobs that no job names any more}.
go_on_when_full()
local most, gone, unnamed = given.most, {}, {}

local function drop_blob(ref)
  if ref and ref ~= '' and redis.call('HINCRBY', key('blobs'), ref, -1) <= 0 then
    redis.call('HDEL', key('blobs'), ref)
    table.insert(unnamed, ref)
    return true
  end
end

local function forget_key(owner, idempotency)
  if idempotency ~= '' then redis.call('DEL', key('idempotency', owner .. ':' .. idempotency)) end
end

local function leave_tombstone(id, owner) redis.call('SET', key('tombstone', id), owner, 'PX', given.tombstone_ms) end

local function forget(id, at_once)
  local state = redis.call('HMGET', job(id), 'status', 'image_ref', 'result', 'owner', 'idempotency', 'answer',
    'mask_ref', 'sharer', 'memory', 'disk')
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
  if not at_once then leave_tombstone(id, state[4]) end
  take('memory', state[8] or '', -(state[9] or 0))
  take('disk', state[8] or '', -(state[10] or 0))
  redis.call('HINCRBY', key('counts'), state[1], -1)
  redis.call('HINCRBY', key('counts'), 'collected', 1)
  table.insert(gone, id)
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('expiry'), '-inf', now, 'LIMIT', 0, most)) do
  forget(id, redis.call('ZSCORE', key('expiry'), id) == '0')
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('batch_expiry'), '-inf', now, 'LIMIT', 0, 10)) do
  local state = redis.call('HMGET', batch(id), 'owner', 'idempotency')
  local at_once = redis.call('ZSCORE', key('batch_expiry'), id) == '0'
  if state[1] then  -- the record goes first: nobody sees half a batch
    forget_key(state[1], state[2])
    redis.call('DEL', batch(id))
    if not at_once then leave_tombstone(id, state[1]) end
  end
  while #gone < most do
    local member = redis.call('LPOP', key('members', id))
    if not member then break end
    forget(member, at_once)
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
return {gone, unnamed}
