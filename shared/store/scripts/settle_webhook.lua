-- Says what comes after an attempt at a delivery; applies to the newest attempt only.
--   id: of the job
--   attempt: its number, as text
--   wait_ms: until the next attempt; left out: there is none
-- Returns 1 where it applies.
go_on_when_full()
local id = given.id
if get(id, 'webhook_attempts') ~= given.attempt then return 0 end
if not given.wait_ms then return redis.call('ZREM', key('webhooks'), id) end
redis.call('ZADD', key('webhooks'), 'XX', now + given.wait_ms, id)
return 1
