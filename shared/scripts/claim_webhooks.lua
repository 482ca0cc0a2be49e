-- ARGV: most, claim id, lease ms, max attempts. Returns the claimed deliveries as JSON texts; each is due again when its
-- lease has run out, unless it is settled before.
local lease, max_attempts = tonumber(ARGV[3]), tonumber(ARGV[4])
local receipt = key('claim', ARGV[2])
local again = redis.call('GET', receipt)
if again then return cjson.decode(again) end
go_on_when_full()

local claimed = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('webhooks'), '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))) do
  local state = redis.call('HMGET', job(id), 'webhook', 'webhook_attempts', 'request')
  if not state[1] or tonumber(state[2] or 0) >= max_attempts then
    redis.call('ZREM', key('webhooks'), id)
  else
    local attempt = redis.call('HINCRBY', job(id), 'webhook_attempts', 1)
    redis.call('ZADD', key('webhooks'), now + lease, id)
    table.insert(claimed, cjson.encode({job_id = id, attempt = attempt, address = state[1],
      request_id = state[3] or ''}))
  end
end
if #claimed > 0 then redis.call('SET', receipt, cjson.encode(claimed), 'PX', lease) end
return claimed
