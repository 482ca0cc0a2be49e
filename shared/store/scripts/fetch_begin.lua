-- Has a model fetched.
--   model: its name
--   lease_ms: after which a fetch that was not heard of is over
--   wait_ms: the same of one that nobody has taken up yet
--   kept_ms: for how long it is kept after its last report
-- Returns 1 where a fetch begins to wait, 0 where one waits or runs already.
go_on_when_full()
local id = key('fetch', given.model)
local state = redis.call('HMGET', id, 'state', 'heard')
local patience = state[1] == 'waiting' and given.wait_ms or state[1] == 'running' and given.lease_ms
if patience and tonumber(state[2]) + patience >= now then return 0 end
redis.call('DEL', id)
redis.call('HSET', id, 'state', 'waiting', 'done', 0, 'heard', now)
redis.call('PEXPIRE', id, given.kept_ms)
redis.call('SADD', key('fetches'), given.model)
return 1
