-- Looks up a session.
--   session: hash of its secret
-- Returns id and record of its key; nil where the session or the key has ended.
local id = redis.call('GET', key('session', given.session))
local record = id and redis.call('HGET', key('keys'), id)
return record and {id, record} or nil
