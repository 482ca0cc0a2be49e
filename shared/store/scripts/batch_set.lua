-- Opens, pauses, resumes or cancels a batch.
--   batch: its id
--   what: 'open', 'pause', 'resume' or 'cancel'
--   operation: names this very call, which may be sent again
--   retention_ms: how long a job is kept after its end
-- Returns 'unknown', 'ended' or 'done'.
go_on_when_full()
local id, what = given.batch, given.what
local state = redis.call('HMGET', batch(id), 'status', 'queued', 'running', 'cancel', 'options', 'sharer')
local queue = key('queue', id)
local needs = state[5] and needs_of(state[5])  -- the same of all members
local lanes = {key('lane', 'bulk'), own_lane('bulk', needs)}
local sharer = state[6] or ''
local AT_ONCE = 1000  -- arguments of a command

local function go_on()
  redis.call('HSET', batch(id), 'status', 'running')
  redis.call('HDEL', batch(id), 'last')  -- the time in between says nothing about the pace
  local members, ages = {}, {}
  for place, part in ipairs(redis.call('ZRANGE', queue, 0, -1, 'WITHSCORES')) do
    table.insert(place % 2 == 1 and members or ages, part)
  end
  local each = #members > 0 and turns_of(members[#members])  -- the same for all, but for those that were claimed
  local turn = #members > 0 and next_turn('bulk', sharer, #members * each)
  for first = 1, #members, AT_ONCE do
    local pairs_of = {}
    for place = first, math.min(first + AT_ONCE - 1, #members) do
      table.insert(pairs_of, place_of(turn + (place - 1) * each, ages[place]))
      table.insert(pairs_of, members[place])
    end
    for _, lane in ipairs(lanes) do redis.call('ZADD', lane, unpack(pairs_of)) end
  end
  redis.call('SADD', key('needs', 'bulk'), needs)
  forget_needs('bulk', needs)
end

local function hold()
  for _, lane in ipairs(lanes) do redis.call('ZDIFFSTORE', lane, 2, lane, queue) end
  forget_needs('bulk', needs)
  for _, member in ipairs(redis.call('ZRANGE', queue, 0, -1)) do give_turns_back(member, 'bulk', sharer) end
end

if not state[1] then return 'unknown' end
if what == 'open' then
  if state[1] ~= 'filling' then return 'done' end
  redis.call('ZREM', key('filling'), id)
  go_on()
  end_batch(id, given.retention_ms)
  return 'done'
end
if what == 'cancel' and state[4] == given.operation then return 'done' end  -- this very call, sent again
if state[1] == 'cancelled' or tonumber(state[2]) + tonumber(state[3]) == 0 then return 'ended' end
if what == 'cancel' then
  redis.call('HSET', batch(id), 'cancel', given.operation)
  cancel_batch(id, given.operation, given.retention_ms)
elseif what == 'pause' and state[1] == 'running' then
  redis.call('HSET', batch(id), 'status', 'paused')
  hold()
elseif what == 'resume' and state[1] == 'paused' then
  go_on()
end
return 'done'
