-- Looks at the whole store; changes nothing.
--   heard_ms: how old the last heartbeat of a process may be
-- Returns the figures for operators, as JSON.
local heard = '(' .. (now - given.heard_ms) / 1000

local function dictionary(name)
  local found, flat = {}, redis.call('HGETALL', key(name))
  for i = 1, #flat, 2 do found[flat[i]] = tonumber(flat[i + 1]) end
  return found
end

local function lane(name)
  local first = redis.call('ZRANGE', key('lane', name), 0, 0)[1]
  local waits = first and now - tonumber(get(first, 'created')) or 0
  return {waiting = redis.call('ZCARD', key('lane', name)), oldest_ms = math.max(0, waits)}
end

local due = redis.call('ZRANGE', key('webhooks'), 0, 0, 'WITHSCORES')[2] or now

local server = redis.call('INFO', 'memory') .. redis.call('INFO', 'persistence')
local function says(field) return server:match('[\r\n]' .. field .. ':([^\r\n]*)') end

return cjson.encode({
  now = now,
  counts = dictionary('counts'),
  tally = dictionary('tally'),
  lanes = {interactive = lane('interactive'), bulk = lane('bulk')},
  workers = redis.call('ZCOUNT', key('workers'), heard, '+inf'),
  keepers = redis.call('ZCOUNT', key('keepers'), heard, '+inf'),
  senders = redis.call('ZCOUNT', key('senders'), heard, '+inf'),
  fetchers = redis.call('ZCOUNT', key('fetchers'), heard, '+inf'),
  webhooks = redis.call('ZCARD', key('webhooks')),
  webhooks_overdue_ms = math.max(0, now - tonumber(due)),
  blobs = redis.call('HLEN', key('blobs')),
  memory_used = tonumber(says('used_memory')),
  memory_limit = tonumber(says('maxmemory')),
  append_only = says('aof_enabled') == '1' and says('aof_last_write_status') == 'ok',
})
