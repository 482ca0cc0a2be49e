-- ARGV: lease ms, progress, then id and fence of each job. Says how far running jobs are, and renews their leases; returns
-- as renew does.
go_on_when_full()
local answers = {}
for i = 3, #ARGV, 2 do
  local lease = renew_lease(ARGV[i], ARGV[i + 1], tonumber(ARGV[1]))
  if lease == 1 then
    redis.call('HSET', job(ARGV[i]), 'progress', ARGV[2])
    redis.call('PUBLISH', key('events', ARGV[i]), 'running')
  end
  table.insert(answers, lease)
end
return answers
