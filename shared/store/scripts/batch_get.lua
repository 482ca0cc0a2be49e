-- Looks at a batch.
--   batch: its id
-- Returns its fields; none where it is unknown.
return redis.call('HGETALL', batch(given.batch))
