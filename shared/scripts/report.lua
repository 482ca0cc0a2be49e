-- ARGV: id, fence, lease ms, progress. Says how far a running job is, and renews its lease; returns as renew does.
go_on_when_full()
local id = ARGV[1]
local lease = renew_lease(id, ARGV[2], tonumber(ARGV[3]))
if lease == 1 then
  redis.call('HSET', job(id), 'progress', ARGV[4])
  redis.call('PUBLISH', key('events', id), 'running')
end
return lease
