-- Says how far a fetch is, or how it ended.
--   model: its name
--   claim: names the claim of the process that fetches it
--   state: of the fetch
--   done: bytes received
--   total: bytes in all; left out: unknown
--   error: why it failed; ''
--   kept_ms: for how long it is kept after its last report
-- Returns 1 where it applies: the claim is the newest.
go_on_when_full()
local id = key('fetch', given.model)
local state = redis.call('HMGET', id, 'state', 'claim')
if state[2] ~= given.claim then return 0 end
if state[1] ~= 'running' then return state[1] == given.state and 1 or 0 end
redis.call('HSET', id, 'state', given.state, 'done', given.done, 'total', given.total or '', 'error', given.error,
  'heard', now)
redis.call('PEXPIRE', id, given.kept_ms)
if given.state ~= 'running' then redis.call('SREM', key('fetches'), given.model) end
return 1
