-- ARGV: model, claim id, state, bytes received, bytes in all ('': unknown), error, lease ms, wait ms, kept ms. Returns 1
-- where it applies: the claim is the newest.
go_on_when_full()
local id = key('fetch', ARGV[1])
local state = redis.call('HMGET', id, 'state', 'claim')
if state[2] ~= ARGV[2] then return 0 end
if state[1] ~= 'running' then return state[1] == ARGV[3] and 1 or 0 end
redis.call('HSET', id, 'state', ARGV[3], 'done', ARGV[4], 'total', ARGV[5], 'error', ARGV[6], 'heard', now)
redis.call('PEXPIRE', id, ARGV[9])
if ARGV[3] ~= 'running' then redis.call('SREM', key('fetches'), ARGV[1]) end
return 1
