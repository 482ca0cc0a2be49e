-- Shared by every script of the job store. KEYS[1] is the prefix of all keys; time is Redis's own.
local prefix = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function key(name, id) return id and (prefix .. name .. ':' .. id) or (prefix .. name) end
local function job(id) return key('job', id) end
local function get(id, field) return redis.call('HGET', job(id), field) end

-- A full Redis refuses a script at its first write, unless that write cannot grow. Every script but submit begins with
-- one that cannot, so that jobs still run, end and are forgotten, and room is made again.
local function go_on_when_full() redis.call('DEL', key('full')) end

-- Counts by state, so that accepted = queued + running + terminal + collected can be checked at any time.
local function move(id, from, to)
  if from then redis.call('HINCRBY', key('counts'), from, -1) end
  redis.call('HINCRBY', key('counts'), to, 1)
  redis.call('HSET', job(id), 'status', to)
  redis.call('PUBLISH', key('events', id), to)
end

local function keep_blob(ref) if ref ~= '' then redis.call('HINCRBY', key('blobs'), ref, 1) end end

-- End a job for good. Terminal states are absorbing: callers have checked that it is queued or running.
local function conclude(id, status, result, error, retention)
  local from = get(id, 'status')
  redis.call('ZREM', key('lane', get(id, 'lane')), id)
  redis.call('ZREM', key('running'), id)
  redis.call('ZREM', key('deadlines'), id)
  redis.call('HSET', job(id), 'finished', now, 'result', result, 'error', error)
  redis.call('HDEL', job(id), 'progress')
  redis.call('ZADD', key('expiry'), now + retention, id)
  keep_blob(result)
  move(id, from, status)
end

-- Give a running job back to its lane; its sequence number puts it where it stood.
local function requeue(id, solo)
  redis.call('ZREM', key('running'), id)
  redis.call('HDEL', job(id), 'started', 'progress')
  if solo then redis.call('HSET', job(id), 'solo', '1') end
  redis.call('ZADD', key('lane', get(id, 'lane')), get(id, 'seq'), id)
  move(id, 'running', 'queued')
end

-- Prolong the lease of a running job. Returns 1 go on, 0 no longer ours, 2 cancelled, 3 past its deadline.
local function renew_lease(id, fence, lease)
  local state = redis.call('HMGET', job(id), 'status', 'fence', 'cancel', 'deadline')
  if state[1] ~= 'running' or state[2] ~= fence then return 0 end
  if state[3] then return 2 end
  if tonumber(state[4]) < now then return 3 end
  redis.call('ZADD', key('running'), 'XX', now + lease, id)
  return 1
end

local function failure(code, message) return cjson.encode({code = code, message = message}) end
