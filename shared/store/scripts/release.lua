-- ARGV: id, fence, charge (1 keeps the attempt counted), solo (1: next time in a batch of one), retention ms.
-- Returns 1 where it applies. A job flagged for cancelling ends instead of waiting again.
go_on_when_full()
local id = ARGV[1]
local state = redis.call('HMGET', job(id), 'status', 'fence', 'cancel')
if state[1] ~= 'running' or state[2] ~= ARGV[2] then return 0 end
if ARGV[3] == '0' then redis.call('HINCRBY', job(id), 'attempts', -1) end
redis.call('HINCRBY', job(id), 'fence', 1)
tally(ARGV[4] == '1' and 'released:trouble' or 'released:shutdown')
if state[3] then
  conclude(id, 'cancelled', '', '', tonumber(ARGV[5]))
else
  requeue(id, ARGV[4] == '1')
end
return 1
