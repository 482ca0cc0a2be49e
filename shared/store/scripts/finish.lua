-- ARGV: retention ms, then of each job: id, fence, status, result, error, compute ms, whether the answer is that of the
-- versions that were asked (1), bytes of the result's file. Returns for each 1 where it applies or has applied already.
local retention = tonumber(ARGV[1])

local function finish(id, fence, status, result, error, compute_ms, as_asked, bytes)
  local state = redis.call('HMGET', job(id), 'status', 'fence', 'answer', 'owner', 'sharer')
  if state[2] ~= fence then return 0 end
  if state[1] ~= 'running' then return state[1] == status and 1 or 0 end
  conclude(id, status, result, error, retention)
  if status == 'succeeded' then
    charge(id, 'disk', state[5] or '', tonumber(bytes))
    if state[3] ~= '' and as_asked == '1' then redis.call('SET', key('answer', state[4] .. ':' .. state[3]), result) end
    observe('compute', tonumber(compute_ms))
    local pace = tonumber(redis.call('GET', key('pace')) or compute_ms)
    redis.call('SET', key('pace'), string.format('%.3f', 0.9 * pace + 0.1 * tonumber(compute_ms)))
  end
  return 1
end

local applied = {}
for i = 2, #ARGV, 8 do table.insert(applied, finish(unpack(ARGV, i, i + 7))) end
return applied
