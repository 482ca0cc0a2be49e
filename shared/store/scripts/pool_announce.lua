-- ARGV: worker, what it takes as JSON. Workers that are no longer known are forgotten.
go_on_when_full()
redis.call('HSET', key('announced'), ARGV[1], ARGV[2])
for _, worker in ipairs(redis.call('HKEYS', key('announced'))) do
  if worker ~= ARGV[1] and not redis.call('ZSCORE', key('workers'), worker) then
    redis.call('HDEL', key('announced'), worker)
  end
end
