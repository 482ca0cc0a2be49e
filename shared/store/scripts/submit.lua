-- Stores a job, where there is room for it.
--   id: of the job
--   lane: that it waits in
--   limit: how many jobs may wait in the lane
--   limit_per_owner: how many of one owner may
--   options: a JSON text
--   image: what is known of the picture, a JSON text
--   image_ref: names the picture's file
--   mask_ref: names the mask's file; '': there is none
--   owner: id of the API key that it belongs to; '': none
--   idempotency: key that the caller has chosen; '': none
--   body: hash of the request's body
--   answer: names the question, for answers that are known; ''
--   deadline_ms: for how long the job may wait and run
--   retention_ms: how long it is kept after its end
--   solo: whether it is a long job
--   ring_ms: for how long a ring is remembered; 0: do not ring
--   webhook: address to which its end is reported; ''
--   request: id of the request
--   versions: of the models that are to answer, a JSON text; '': the current ones
--   sharer: whose turn, and whose share of memory and disk, it takes
--   memory: bytes of Redis's memory that it takes
--   disk: bytes that its files take of the disk
--   room: bytes that the disk has left; left out: no bound
-- Returns {outcome, id, 1 where a worker is to be rung for}; the outcome is 'accepted', 'answered', 'conflict', 'full',
-- 'crowded', 'no memory', 'memory share' or 'disk share'.
local id, lane, owner, sharer = given.id, given.lane, given.owner, given.sharer

if redis.call('EXISTS', job(id)) == 1 then return {'accepted', id, 1} end  -- this very call, sent again
local idem_key = key('idempotency', owner .. ':' .. given.idempotency)
if given.idempotency ~= '' then
  local known = redis.call('HMGET', idem_key, 'id', 'body')
  if known[1] then return {known[2] == given.body and 'accepted' or 'conflict', known[1], 1} end
end

-- A full lane still takes jobs for models that hold less than their share of it: those that wait for a worker who serves
-- theirs keep nobody else out.
local function full()
  if redis.call('ZCARD', key('lane', lane)) < given.limit then return false end
  local needs = needs_of(given.options)
  local kinds = redis.call('SCARD', key('needs', lane)) + 1 - redis.call('SISMEMBER', key('needs', lane), needs)
  return redis.call('ZCARD', own_lane(lane, needs)) >= given.limit / kinds
end
local answered = given.answer ~= '' and redis.call('EXISTS', key('answer', owner .. ':' .. given.answer)) == 1
if not answered and full() then return {'full', id, 0} end

local left = left_of(JOB_SHARE)
if left <= 0 then return {'no memory', id, 0} end
if over_share('memory', sharer, given.memory, left) then return {'memory share', id, 0} end
if not answered and over_share('disk', sharer, given.disk, given.room or math.huge) then return {'disk share', id, 0} end

-- Counting here, in a lane that is bounded, needs no count of every owner to be kept in step.
local function crowded()
  local own = 0
  if redis.call('ZCARD', key('lane', lane)) < given.limit_per_owner then return false end
  for _, other in ipairs(redis.call('ZRANGE', key('lane', lane), 0, -1)) do
    if get(other, 'owner') == owner then own = own + 1 end
  end
  return own >= given.limit_per_owner
end
if not answered and owner ~= '' and crowded() then return {'crowded', id, 0} end

note_sender(lane, sharer)
if given.idempotency ~= '' then redis.call('HSET', idem_key, 'id', id, 'body', given.body) end
admit(given)
if answered then return {'answered', id, 0} end
return {'accepted', id, needs_ring(given.ring_ms)}
