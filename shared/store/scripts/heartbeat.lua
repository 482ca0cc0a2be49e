-- ARGV: workers, keepers, senders or fetchers, name. Says that this process is here; whoever was not heard for an hour is forgotten.
go_on_when_full()
redis.call('ZADD', key(ARGV[1]), now / 1000, ARGV[2])
redis.call('ZREMRANGEBYSCORE', key(ARGV[1]), '-inf', now / 1000 - 3600)
