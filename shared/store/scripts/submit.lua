-- ARGV: id, lane, limit, options, image, image_ref, owner, idempotency key, body hash, answer key, deadline ms, retention ms, solo,
--   mask_ref, how many jobs of one owner may wait in the lane, for how long a ring is remembered (ms; 0: do not ring),
--   webhook, id of the request, versions of the models, sharer, bytes that it takes of Redis's memory, bytes that its
--   files take of the disk, bytes that the disk has left
-- Returns {outcome, id, whether to ring}.
local id, lane, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local owner, idem, body, answer = ARGV[7], ARGV[8], ARGV[9], ARGV[10]

if redis.call('EXISTS', job(id)) == 1 then return {'accepted', id, 1} end  -- this very call, sent again
local idem_key = key('idempotency', owner .. ':' .. idem)
if idem ~= '' then
  local known = redis.call('HMGET', idem_key, 'id', 'body')
  if known[1] then return {known[2] == body and 'accepted' or 'conflict', known[1], 1} end
end

-- A full lane still takes jobs for models that hold less than their share of it: those that wait for a worker who serves
-- theirs keep nobody else out.
local function full()
  if redis.call('ZCARD', key('lane', lane)) < limit then return false end
  local needs = needs_of(ARGV[4])
  local kinds = redis.call('SCARD', key('needs', lane)) + 1 - redis.call('SISMEMBER', key('needs', lane), needs)
  return redis.call('ZCARD', own_lane(lane, needs)) >= limit / kinds
end
local answered = answer ~= '' and redis.call('EXISTS', key('answer', owner .. ':' .. answer)) == 1
if not answered and full() then return {'full', id, 0} end

local sharer, memory, disk, room = ARGV[20], tonumber(ARGV[21]), tonumber(ARGV[22]), tonumber(ARGV[23])
local left = left_of(JOB_SHARE)
if left <= 0 then return {'no memory', id, 0} end
if over_share('memory', sharer, memory, left) then return {'memory share', id, 0} end
if not answered and over_share('disk', sharer, disk, room) then return {'disk share', id, 0} end

-- Counting here, in a lane that is bounded, needs no count of every owner to be kept in step.
local function crowded(most)
  local own = 0
  if redis.call('ZCARD', key('lane', lane)) < most then return false end
  for _, other in ipairs(redis.call('ZRANGE', key('lane', lane), 0, -1)) do
    if get(other, 'owner') == owner then own = own + 1 end
  end
  return own >= most
end
if not answered and owner ~= '' and crowded(tonumber(ARGV[15])) then return {'crowded', id, 0} end

note_sender(lane, sharer)
if idem ~= '' then redis.call('HSET', idem_key, 'id', id, 'body', body) end
admit({id = id, lane = lane, options = ARGV[4], image = ARGV[5], image_ref = ARGV[6], owner = owner,
  idempotency = idem, answer = answer, deadline = tonumber(ARGV[11]), retention = tonumber(ARGV[12]),
  solo = ARGV[13] == '1', mask_ref = ARGV[14], webhook = ARGV[17], request = ARGV[18], versions = ARGV[19],
  sharer = sharer, memory = memory, disk = disk})
if answered then return {'answered', id, 0} end
return {'accepted', id, ARGV[16] ~= '0' and needs_ring(ARGV[16]) or 0}
