-- Ends running jobs.
--   retention_ms: how long a job is kept after its end
--   ends: a list, of each:
--     id: of the job
--     fence: of the claim, as text
--     status: that it ends in
--     result: names the result's file; '': there is none
--     error: why it failed, a JSON text; ''
--     compute_ms: how long a worker was at it
--     as_asked: whether the answer is that of the versions that were asked
--     bytes: of the result's file
-- Returns for each 1 where it applies or has applied already.
local function finish(one)
  local state = redis.call('HMGET', job(one.id), 'status', 'fence', 'answer', 'owner', 'sharer')
  if state[2] ~= one.fence then return 0 end
  if state[1] ~= 'running' then return state[1] == one.status and 1 or 0 end
  conclude(one.id, one.status, one.result, one.error, given.retention_ms)
  if one.status == 'succeeded' then
    charge(one.id, 'disk', state[5] or '', one.bytes)
    if state[3] ~= '' and one.as_asked then redis.call('SET', key('answer', state[4] .. ':' .. state[3]), one.result) end
    observe('compute', one.compute_ms)
    local pace = tonumber(redis.call('GET', key('pace')) or one.compute_ms)
    redis.call('SET', key('pace'), string.format('%.3f', 0.9 * pace + 0.1 * one.compute_ms))
  end
  return 1
end

local applied = {}
for _, one in ipairs(given.ends) do table.insert(applied, finish(one)) end
return applied
