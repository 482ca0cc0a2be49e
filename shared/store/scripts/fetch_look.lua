-- ARGV: lease ms, wait ms, kept ms, then models. Returns for each its fetch as JSON, or nothing ('').
local found = {}
for i = 4, #ARGV do
  local state = redis.call('HMGET', key('fetch', ARGV[i]), 'state', 'done', 'total', 'error', 'heard')
  local patience = state[1] == 'waiting' and ARGV[2] or state[1] == 'running' and ARGV[1]
  table.insert(found, state[1] and cjson.encode({state = state[1], done = state[2], total = state[3] or '',
    error = state[4] or '', lapsed = patience and tonumber(state[5]) + patience < now or false}) or '')
end
return found
