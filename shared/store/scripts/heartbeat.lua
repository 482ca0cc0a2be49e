-- Says that a process is here; one that was not heard for an hour is forgotten.
--   kind: 'workers', 'keepers', 'senders' or 'fetchers'
--   name: of the process
-- Returns nothing.
go_on_when_full()
redis.call('ZADD', key(given.kind), now / 1000, given.name)
redis.call('ZREMRANGEBYSCORE', key(given.kind), '-inf', now / 1000 - 3600)
