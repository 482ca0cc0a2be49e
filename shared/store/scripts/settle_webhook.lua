-- ARGV: id, attempt, ms until the next attempt (negative: there is none). Applies to the newest attempt only.
local id = ARGV[1]
go_on_when_full()
if get(id, 'webhook_attempts') ~= ARGV[2] then return 0 end
if tonumber(ARGV[3]) < 0 then return redis.call('ZREM', key('webhooks'), id) end
redis.call('ZADD', key('webhooks'), 'XX', now + tonumber(ARGV[3]), id)
return 1
