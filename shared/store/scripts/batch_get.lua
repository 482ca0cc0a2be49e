-- ARGV: batch. Returns its fields, none where it is unknown.
return redis.call('HGETALL', batch(ARGV[1]))
