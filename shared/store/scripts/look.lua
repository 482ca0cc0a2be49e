-- Looks at a job.
--   id: of the job
--   viewer: owner whose jobs alone may be seen; left out: all
--   heard_ms: how old the last heartbeat of a worker may be
-- Returns {how many are claimed before it (nothing where it does not wait in a lane), the pace of the workers in ms a job,
-- all its fields, 1 where a worker takes it}; none where there is no such job or the viewer may not see it, after the same
-- steps.
local id = given.id
local state = redis.call('HMGET', job(id), 'owner', 'lane', 'needs')
if not state[1] or (given.viewer and state[1] ~= given.viewer) then return {} end
local lane, needs = state[2], state[3] or ''
local place = redis.call('ZSCORE', key('lane', lane), id)
local ahead, served = redis.call('ZRANK', key('lane', lane), id), 1
if ahead and lane == 'bulk' then ahead = ahead + redis.call('ZCARD', key('lane', 'interactive')) end

-- Where workers choose, jobs that wait for others only do not stand before it.
local function among(takers)
  local function shared(of, kind)
    for _, pool in ipairs(takers) do
      if pool.takes(of, kind) then return true end
    end
    return false
  end
  local count = 0
  for _, kind in ipairs(redis.call('SMEMBERS', key('needs', lane))) do
    if shared(lane, kind) then count = count + redis.call('ZCOUNT', own_lane(lane, kind), '-inf', '(' .. place) end
  end
  for _, kind in ipairs(lane == 'bulk' and redis.call('SMEMBERS', key('needs', 'interactive')) or {}) do
    if shared('interactive', kind) then count = count + redis.call('ZCARD', own_lane('interactive', kind)) end
  end
  return count
end

if ahead then
  local takers, choosy = {}, false
  for _, text in ipairs(announced(given.heard_ms)) do
    local pool = pool_of(text)
    choosy = choosy or pool.models or pool.lanes
    if pool.takes(lane, needs) then table.insert(takers, pool) end
  end
  if #takers == 0 then served = 0 elseif choosy then ahead = among(takers) end
end
return {ahead, redis.call('GET', key('pace')), redis.call('HGETALL', job(id)), served}
