-- Looks at fetches.
--   models: their names
--   lease_ms: after which a fetch that was not heard of is over
--   wait_ms: the same of one that nobody has taken up yet
-- Returns for each model its fetch as JSON, or nothing ('').
local found = {}
for _, name in ipairs(given.models) do
  local state = redis.call('HMGET', key('fetch', name), 'state', 'done', 'total', 'error', 'heard')
  local patience = state[1] == 'waiting' and given.wait_ms or state[1] == 'running' and given.lease_ms
  table.insert(found, state[1] and cjson.encode({state = state[1], done = state[2], total = state[3] or '',
    error = state[4] or '', lapsed = patience and tonumber(state[5]) + patience < now or false}) or '')
end
return found
