-- ARGV: model, lease ms, wait ms, kept ms. Returns 1 where a fetch begins to wait, 0 where one waits or runs already.
go_on_when_full()
local id = key('fetch', ARGV[1])
local state = redis.call('HMGET', id, 'state', 'heard')
local patience = state[1] == 'waiting' and ARGV[3] or state[1] == 'running' and ARGV[2]
if patience and tonumber(state[2]) + patience >= now then return 0 end
redis.call('DEL', id)
redis.call('HSET', id, 'state', 'waiting', 'done', 0, 'heard', now)
redis.call('PEXPIRE', id, ARGV[4])
redis.call('SADD', key('fetches'), ARGV[1])
return 1
