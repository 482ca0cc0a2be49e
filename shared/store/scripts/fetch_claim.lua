-- Takes a fetch that waits.
--   claim: names this very call, which may be sent again
--   kept_ms: for how long a fetch is kept after its last report
-- Returns the model that is to be fetched now; nothing where none waits.
go_on_when_full()
local first
for _, name in ipairs(redis.call('SMEMBERS', key('fetches'))) do
  local state = redis.call('HMGET', key('fetch', name), 'state', 'claim')
  if state[1] == 'running' and state[2] == given.claim then return name end  -- this very call, sent again
  if state[1] == 'waiting' then
    first = first or name
  elseif state[1] ~= 'running' then
    redis.call('SREM', key('fetches'), name)
  end
end
if not first then return false end
redis.call('HSET', key('fetch', first), 'state', 'running', 'claim', given.claim, 'heard', now)
redis.call('PEXPIRE', key('fetch', first), given.kept_ms)
return first
