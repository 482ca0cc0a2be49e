-- Says how far running jobs are, and prolongs their leases.
--   lease_ms: from now on
--   progress: a JSON text
--   claims: a list, of each the `id` of the job and the `fence` of the claim, as text
-- Returns the state of each lease, as `renew_lease` does.
go_on_when_full()
local answers = {}
for _, claim in ipairs(given.claims) do
  local lease = renew_lease(claim, given.lease_ms)
  if lease == 1 then
    redis.call('HSET', job(claim.id), 'progress', given.progress)
    redis.call('PUBLISH', key('events', claim.id), 'running')
  end
  table.insert(answers, lease)
end
return answers
