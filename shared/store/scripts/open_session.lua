-- ARGV: hash of a session, id of its key, ms that it lasts.
go_on_when_full()
redis.call('SET', key('session', ARGV[1]), ARGV[2], 'PX', ARGV[3])
