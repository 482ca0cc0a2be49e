-- ARGV: id, operation id, retention ms. Returns 'unknown', 'terminal', or 'done'.
local id = ARGV[1]
go_on_when_full()
local state = redis.call('HMGET', job(id), 'status', 'cancel')
if not state[1] then return 'unknown' end
if state[2] == ARGV[2] then return 'done' end  -- this very call, sent again
if state[1] ~= 'queued' and state[1] ~= 'running' then return 'terminal' end
redis.call('HSET', job(id), 'cancel', ARGV[2])
if state[1] == 'queued' then conclude(id, 'cancelled', '', '', tonumber(ARGV[3])) end
return 'done'
