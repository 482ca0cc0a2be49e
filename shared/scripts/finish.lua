-- ARGV: id, fence, status, result, error, compute ms, retention ms. Returns 1 where it applies or has applied already.
local id, fence, status = ARGV[1], ARGV[2], ARGV[3]
local state = redis.call('HMGET', job(id), 'status', 'fence', 'answer', 'owner')
if state[2] ~= fence then return 0 end
if state[1] ~= 'running' then return state[1] == status and 1 or 0 end
conclude(id, status, ARGV[4], ARGV[5], tonumber(ARGV[7]))
if status == 'succeeded' then
  if state[3] ~= '' then redis.call('SET', key('answer', state[4] .. ':' .. state[3]), ARGV[4]) end
  local pace = tonumber(redis.call('GET', key('pace')) or ARGV[6])
  redis.call('SET', key('pace'), string.format('%.3f', 0.9 * pace + 0.1 * tonumber(ARGV[6])))
end
return 1
