-- ARGV: lease ms, then id and fence of each job. Returns for each: 1 go on, 0 no longer ours, 2 cancelled, 3 past deadline.
go_on_when_full()
local lease, answers = tonumber(ARGV[1]), {}
for i = 2, #ARGV, 2 do
  local id = ARGV[i]
  local state = redis.call('HMGET', job(id), 'status', 'fence', 'cancel', 'deadline')
  if state[1] ~= 'running' or state[2] ~= ARGV[i + 1] then
    table.insert(answers, 0)
  elseif state[3] then
    table.insert(answers, 2)
  elseif tonumber(state[4]) < now then
    table.insert(answers, 3)
  else
    redis.call('ZADD', key('running'), 'XX', now + lease, id)
    table.insert(answers, 1)
  end
end
return answers
