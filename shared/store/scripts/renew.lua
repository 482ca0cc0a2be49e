-- ARGV: lease ms, then id and fence of each job. Returns the state of each job's lease, as `renew_lease` does.
go_on_when_full()
local answers = {}
for i = 2, #ARGV, 2 do table.insert(answers, renew_lease(ARGV[i], ARGV[i + 1], tonumber(ARGV[1]))) end
return answers
