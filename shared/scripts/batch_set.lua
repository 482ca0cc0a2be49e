-- ARGV: batch, what (open, pause, resume or cancel), operation id, retention ms. Returns 'unknown', 'ended' or 'done'.
go_on_when_full()
local id, what, retention = ARGV[1], ARGV[2], tonumber(ARGV[4])
local state = redis.call('HMGET', batch(id), 'status', 'queued', 'running', 'cancel', 'options')
local queue = key('queue', id)
local needs = state[5] and needs_of(state[5])  -- the same of all members
local lanes = {key('lane', 'bulk'), own_lane('bulk', needs)}

local function go_on()
  redis.call('HSET', batch(id), 'status', 'running')
  redis.call('HDEL', batch(id), 'last')  -- the time in between says nothing about the pace
  for _, lane in ipairs(lanes) do redis.call('ZUNIONSTORE', lane, 2, lane, queue, 'AGGREGATE', 'MAX') end
  redis.call('SADD', key('needs', 'bulk'), needs)
  forget_needs('bulk', needs)
end

if not state[1] then return 'unknown' end
if what == 'open' then
  if state[1] ~= 'filling' then return 'done' end
  redis.call('ZREM', key('filling'), id)
  go_on()
  end_batch(id, retention)
  return 'done'
end
if what == 'cancel' and state[4] == ARGV[3] then return 'done' end  -- this very call, sent again
if state[1] == 'cancelled' or tonumber(state[2]) + tonumber(state[3]) == 0 then return 'ended' end
if what == 'cancel' then
  redis.call('HSET', batch(id), 'cancel', ARGV[3])
  cancel_batch(id, ARGV[3], retention)
elseif what == 'pause' and state[1] == 'running' then
  redis.call('HSET', batch(id), 'status', 'paused')
  for _, lane in ipairs(lanes) do redis.call('ZDIFFSTORE', lane, 2, lane, queue) end
  forget_needs('bulk', needs)
elseif what == 'resume' and state[1] == 'paused' then
  go_on()
end
return 'done'
