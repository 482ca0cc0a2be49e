-- Ends or requeues jobs whose lease is lost or whose time is over.
--   max_attempts: how often a job may be taken
--   retention_ms: how long a job is kept after its end
--   lease_ms: how long a claim lasts without being renewed
-- Returns how many.
go_on_when_full()
redis.call('HSET', key('tally'), 'reaped', now)
local lease, retention, touched = given.lease_ms, given.retention_ms, 0
-- A clock that was set back has left leases that would run for hours.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('running'), now + 2 * lease, '+inf', 'LIMIT', 0, 1000)) do
  redis.call('ZADD', key('running'), now + lease, id)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('running'), '-inf', now, 'LIMIT', 0, 1000)) do
  local state = redis.call('HMGET', job(id), 'cancel', 'attempts', 'deadline')
  touched = touched + 1
  tally('leases_lost')
  redis.call('HINCRBY', job(id), 'fence', 1)
  if state[1] then
    conclude(id, 'cancelled', '', '', retention)
  elseif tonumber(state[3]) < now then
    conclude(id, 'expired', '', '', retention)
  elseif tonumber(state[2]) >= given.max_attempts then
    give_up(id, retention)
  else
    requeue(id, true)
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('deadlines'), '-inf', now, 'LIMIT', 0, 1000)) do
  if get(id, 'status') == 'queued' then
    conclude(id, 'expired', '', '', retention)
    touched = touched + 1
  end
end
local abandoned = now - 600000  -- whoever was filling them is gone: nobody was told of them
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('filling'), '-inf', abandoned, 'LIMIT', 0, 10)) do
  cancel_batch(id, 'abandoned', retention)
end
return touched
