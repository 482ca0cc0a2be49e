-- Lists who is here, and what waits.
--   heard_ms: how old the last heartbeat of a worker may be
-- Returns {what each worker heard lately takes, what waits by lane and models}, both as JSON texts.
local waiting = {}
for _, lane in ipairs({'interactive', 'bulk'}) do
  for _, needs in ipairs(redis.call('SMEMBERS', key('needs', lane))) do
    local own = own_lane(lane, needs)
    local first = redis.call('ZRANGE', own, 0, 0)[1]
    if first then
      table.insert(waiting, cjson.encode({lane = lane, needs = needs, count = redis.call('ZCARD', own),
        oldest_ms = math.max(0, now - tonumber(get(first, 'created')))}))
    end
  end
end
return {announced(given.heard_ms), waiting}
