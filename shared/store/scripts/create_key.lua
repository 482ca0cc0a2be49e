-- ARGV: id, name, record (JSON). Returns the time of creation, also where this very call is sent again; nil where the
-- name is taken.
go_on_when_full()
local id, name = ARGV[1], ARGV[2]
local holder = redis.call('HGET', key('key_names'), name)
if holder and holder ~= id then return nil end
if holder then return cjson.decode(redis.call('HGET', key('keys'), id)).created end
local record = cjson.decode(ARGV[3])
record.created = string.format('%d', now)
redis.call('HSET', key('key_names'), name, id)
redis.call('HSET', key('keys'), id, cjson.encode(record))
return record.created
