-- Takes deliveries that are due; each is due again when its lease has run out, unless it is settled before.
--   most: how many
--   claim: names this very call, which may be sent again
--   lease_ms: how long they are held
--   max_attempts: how often a delivery may be taken
--   busy_receivers: hosts that are to wait
--   busy_sharers: callers whose deliveries are to wait
-- Returns the claimed deliveries as JSON texts.
local receipt = key('claim', given.claim)
local again = redis.call('GET', receipt)
if again then return cjson.decode(again) end
go_on_when_full()

local LOOKED_AT = 200  -- deliveries, in one call
local receivers, sharers = {}, {}
for _, name in ipairs(given.busy_receivers) do receivers[name] = true end
for _, name in ipairs(given.busy_sharers) do sharers[name] = true end

local claimed, passed_over = {}, {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('webhooks'), '-inf', now, 'LIMIT', 0, LOOKED_AT)) do
  if #claimed >= given.most then break end
  local state = redis.call('HMGET', job(id), 'webhook', 'webhook_attempts', 'request', 'sharer')
  local receiver = state[1] and state[1]:match('^%a+://([^/?#]*)') or ''
  if not state[1] or tonumber(state[2] or 0) >= given.max_attempts then
    redis.call('ZREM', key('webhooks'), id)
  elseif receivers[receiver] or sharers[state[4] or ''] then
    table.insert(passed_over, id)
  else
    local attempt = redis.call('HINCRBY', job(id), 'webhook_attempts', 1)
    redis.call('ZADD', key('webhooks'), now + given.lease_ms, id)
    table.insert(claimed, cjson.encode({job_id = id, attempt = attempt, address = state[1],
      request_id = state[3] or '', receiver = receiver, sharer = state[4] or ''}))
  end
end
if #passed_over == LOOKED_AT then  -- next time others are looked at first
  for _, id in ipairs(passed_over) do redis.call('ZADD', key('webhooks'), now, id) end
end
if #claimed > 0 then redis.call('SET', receipt, cjson.encode(claimed), 'PX', given.lease_ms) end
return claimed
