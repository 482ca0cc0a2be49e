-- Ends an API key.
--   name: its name or its id
-- Returns 1 where there was such a key.
go_on_when_full()
local id = redis.call('HGET', key('key_names'), given.name) or given.name
local record = redis.call('HGET', key('keys'), id)
if not record then return 0 end
redis.call('HDEL', key('key_names'), cjson.decode(record).name)
redis.call('HDEL', key('keys'), id)
return 1
