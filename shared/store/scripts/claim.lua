-- Takes waiting jobs under a lease.
--   most: how many
--   claim: names this very call, which may be sent again
--   lease_ms: how long they are held without being renewed
--   max_attempts: how often a job may be taken
--   retention_ms: how long a job is kept after its end
--   woken: whether this answers a doorbell: the next job may ring again
--   ring_ms: for how long a ring is remembered; 0: do not ring
--   models: that the worker serves; none: all
--   lanes: that it takes jobs from; none: all
--   crew: the processes that it is one of; '': none
--   most_long: how many of these may run a long job at a time; 0: all
-- Returns {1 where one more worker is to be rung for, claimed jobs as JSON texts}.
local most = given.most
local receipt = key('claim', given.claim)
local again = redis.call('GET', receipt)
if again then return cjson.decode(again) end
go_on_when_full()
if given.woken then redis.call('DEL', key('rung')) end

-- A claim is of one lane, so that an interactive job is not held up by bulk jobs beside it. After seven claims that
-- passed waiting bulk jobs over, one looks into the bulk lane first: it never starves, and whoever comes while a bulk
-- batch runs waits for that one alone.
local BULK_SHARE = 8
local passed = tonumber(redis.call('GET', key('passed_over')) or 0)
local lanes = passed >= BULK_SHARE - 1 and {'bulk', 'interactive'} or {'interactive', 'bulk'}
local claimed, closed = {}, false
local pool = serving(given.models, given.lanes)
local latest = {}  -- turn that is taken here, by lane

-- How many jobs the others of a crew run, and how many of them are long.
local function run_beside()
  local jobs, long = 0, 0
  if given.crew == '' then return jobs, long end
  for _, id in ipairs(redis.call('ZRANGE', key('running'), 0, -1)) do
    local state = redis.call('HMGET', job(id), 'solo', 'crew')
    if state[2] == given.crew then
      jobs = jobs + 1
      if state[1] == '1' then long = long + 1 end
    end
  end
  return jobs, long
end
local beside, long_ones = run_beside()

-- A caller with a single job does not wait for a batch that others fill: while there is one in a lane that others use, a
-- claim takes one job of each caller. Where all have more waiting, or one is alone, claims are as large as ever.
local taken_of = {}  -- whether the claim has a job of a sharer

local function fits(lane, sharer) return not (taken_of[sharer] and has_a_single(lane)) end

local function take(id, sharer)
  local attempt = redis.call('HINCRBY', job(id), 'attempts', 1)
  local fence = redis.call('HINCRBY', job(id), 'fence', 1)
  local turn, lane = leave_lane(id)
  latest[lane] = math.max(latest[lane] or 0, turn)
  taken_of[sharer] = true
  note_user(lane, sharer)
  redis.call('ZADD', key('running'), now + given.lease_ms, id)
  redis.call('HSET', job(id), 'started', now, 'turn', turn, 'crew', given.crew)
  move(id, 'queued', 'running')
  local data = redis.call('HMGET', job(id), 'options', 'image', 'created', 'solo', 'batch', 'lane', 'request', 'versions')
  if data[5] then redis.call('HSETNX', batch(data[5]), 'last', now) end
  tally('claimed:' .. data[6] .. ':' .. attempt)
  if attempt == 1 then observe('wait:' .. data[6], now - tonumber(data[3])) end
  table.insert(claimed, cjson.encode({id = id, fence = fence, attempt = attempt, options = data[1], image = data[2],
    created = tonumber(data[3]), solo = data[4] == '1', request = data[7] or '',
    versions = data[8] or '', alone = beside == 0}))
end

-- The first that wait in a lane and that this worker takes. Jobs for others cost it nothing, however many they are.
local function first(lane, count)
  if pool.lanes and not pool.lanes[lane] then return {} end
  if not pool.models then return redis.call('ZRANGE', key('lane', lane), 0, count) end
  local found, ids = {}, {}
  for _, needs in ipairs(redis.call('SMEMBERS', key('needs', lane))) do
    if pool.takes(lane, needs) then
      local pairs_of = redis.call('ZRANGE', own_lane(lane, needs), 0, count, 'WITHSCORES')
      for i = 1, #pairs_of, 2 do table.insert(found, {pairs_of[i], tonumber(pairs_of[i + 1])}) end
    end
  end
  table.sort(found, function(a, b) return a[2] < b[2] end)
  for place = 1, math.min(#found, count + 1) do ids[place] = found[place][1] end
  return ids
end

-- A long job holds a process for long. While as many of a crew run one as may, the others of it take what waits behind:
-- whoever asks for little is not kept waiting by those who ask for much.
local takes_long = given.most_long == 0 or long_ones < given.most_long
local PASSED_OVER = 256  -- long jobs, at most

-- What a claim brings to be decoded is bounded, so that nobody waits long for its end. Of a JPEG a fraction of the pixels
-- is enough.
local MOST_PIXELS = 32e6
local function pixels_of(image)
  local record = cjson.decode(image)
  return record.width * record.height / (record.format == 'JPEG' and 4 or 1)
end

local function take_from(lane)
  local pixels = 0
  for _, id in ipairs(first(lane, takes_long and most * 2 or PASSED_OVER)) do
    local state = redis.call('HMGET', job(id), 'attempts', 'deadline', 'solo', 'image', 'sharer')
    local sharer = state[5] or ''  -- a job of an earlier version has none
    if #claimed >= most or closed then break end
    if tonumber(state[2]) < now then
      conclude(id, 'expired', '', '', given.retention_ms)
    elseif tonumber(state[1]) >= given.max_attempts then
      give_up(id, given.retention_ms)
    elseif state[3] == '1' then
      closed = closed or takes_long
      if #claimed == 0 and takes_long then take(id, sharer) end
    else
      pixels = pixels + pixels_of(state[4])
      if #claimed > 0 and (pixels > MOST_PIXELS or not fits(lane, sharer)) then closed = true else take(id, sharer) end
    end
  end
end

for _, lane in ipairs(lanes) do
  take_from(lane)
  if #claimed > 0 then
    local passes = lane == 'interactive' and redis.call('ZCARD', key('lane', 'bulk')) > 0
    if not pool.lanes then redis.call('SET', key('passed_over'), passes and passed + 1 or 0) end
    observe('batch:' .. lane, #claimed)
    break
  end
end

for lane, turn in pairs(latest) do
  if turn > reached(lane) then redis.call('SET', key('reached', lane), turn) end
end

-- Whoever took all that it may leaves the rest to one more worker, who calls the next.
local left = (#claimed >= most or closed) and
  redis.call('ZCARD', key('lane', 'interactive')) + redis.call('ZCARD', key('lane', 'bulk')) > 0
local answer = {left and needs_ring(given.ring_ms) or 0, claimed}
if #claimed > 0 then redis.call('SET', receipt, cjson.encode(answer), 'PX', given.lease_ms) end
return answer
