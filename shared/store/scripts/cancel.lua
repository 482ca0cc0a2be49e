-- Cancels a job: one that waits ends at once, one that runs is marked, and ends when its worker sees that.
--   id: of the job
--   operation: names this very call, which may be sent again
--   retention_ms: how long a job is kept after its end
-- Returns 'unknown', 'terminal' or 'done'.
go_on_when_full()
local id = given.id
local state = redis.call('HMGET', job(id), 'status', 'cancel')
if not state[1] then return 'unknown' end
if state[2] == given.operation then return 'done' end  -- this very call, sent again
if state[1] ~= 'queued' and state[1] ~= 'running' then return 'terminal' end
redis.call('HSET', job(id), 'cancel', given.operation)
if state[1] == 'queued' then conclude(id, 'cancelled', '', '', given.retention_ms) end
return 'done'
