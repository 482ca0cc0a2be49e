-- Gives a running job back to its lane. One that is to be cancelled ends instead of waiting again.
--   id: of the job
--   fence: of the claim, as text
--   charge: whether the attempt counts
--   solo: whether it is to run in a batch of one next time
--   retention_ms: how long a job is kept after its end
-- Returns 1 where it applies.
go_on_when_full()
local id = given.id
local state = redis.call('HMGET', job(id), 'status', 'fence', 'cancel')
if state[1] ~= 'running' or state[2] ~= given.fence then return 0 end
if not given.charge then redis.call('HINCRBY', job(id), 'attempts', -1) end
redis.call('HINCRBY', job(id), 'fence', 1)
tally(given.solo and 'released:trouble' or 'released:shutdown')
if state[3] then conclude(id, 'cancelled', '', '', given.retention_ms) else requeue(id, given.solo) end
return 1
