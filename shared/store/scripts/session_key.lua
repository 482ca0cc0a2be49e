-- ARGV: hash of a session. Returns id and record of its key; nil where the session or the key has ended.
local id = redis.call('GET', key('session', ARGV[1]))
local record = id and redis.call('HGET', key('keys'), id)
return record and {id, record} or nil
