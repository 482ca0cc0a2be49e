-- Opens a session.
--   session: hash of its secret
--   key: id of the API key that it was opened with
--   lasts_ms: how long it lasts
-- Returns nothing.
go_on_when_full()
redis.call('SET', key('session', given.session), given.key, 'PX', given.lasts_ms)
