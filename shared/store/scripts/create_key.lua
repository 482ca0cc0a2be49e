-- Stores a new API key.
--   id: of the key
--   name: what its holder calls it
--   record: its name, its scopes and the digest of its token
-- Returns the time of creation (ms, as text), also where this very call is sent again; nil where the name is taken.
go_on_when_full()
local id, record = given.id, given.record
local holder = redis.call('HGET', key('key_names'), given.name)
if holder and holder ~= id then return nil end
if holder then return cjson.decode(redis.call('HGET', key('keys'), id)).created end
record.created = string.format('%d', now)
redis.call('HSET', key('key_names'), given.name, id)
redis.call('HSET', key('keys'), id, cjson.encode(record))
return record.created
