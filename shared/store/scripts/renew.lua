-- Prolongs leases.
--   lease_ms: from now on
--   claims: a list, of each the `id` of the job and the `fence` of the claim, as text
-- Returns the state of each lease, as `renew_lease` does.
go_on_when_full()
local answers = {}
for _, claim in ipairs(given.claims) do table.insert(answers, renew_lease(claim, given.lease_ms)) end
return answers
