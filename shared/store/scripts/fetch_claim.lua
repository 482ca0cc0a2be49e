-- ARGV: claim id, lease ms, wait ms, kept ms. Returns the model that is to be fetched now; nothing where none waits.
go_on_when_full()
local first
for _, name in ipairs(redis.call('SMEMBERS', key('fetches'))) do
  local state = redis.call('HMGET', key('fetch', name), 'state', 'claim')
  if state[1] == 'running' and state[2] == ARGV[1] then return name end  -- this very call, sent again
  if state[1] == 'waiting' then
    first = first or name
  elseif state[1] ~= 'running' then
    redis.call('SREM', key('fetches'), name)
  end
end
if not first then return false end
redis.call('HSET', key('fetch', first), 'state', 'running', 'claim', ARGV[1], 'heard', now)
redis.call('PEXPIRE', key('fetch', first), ARGV[4])
return first
