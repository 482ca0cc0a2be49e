-- Says what a worker takes. Workers that are no longer known are forgotten.
--   worker: its name
--   pool: what it takes, a JSON text
-- Returns nothing.
go_on_when_full()
redis.call('HSET', key('announced'), given.worker, given.pool)
for _, worker in ipairs(redis.call('HKEYS', key('announced'))) do
  if worker ~= given.worker and not redis.call('ZSCORE', key('workers'), worker) then
    redis.call('HDEL', key('announced'), worker)
  end
end
