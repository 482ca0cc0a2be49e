-- Shared by every script of the job store. KEYS[1] is the prefix of all keys; ARGV[1] is a JSON object of what a script is
-- given by name, as its head says. What is left out is nil, never null; what is to be the same as a text that Redis keeps
-- is a text. Time is Redis's own.
local prefix = KEYS[1]
local given = cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function key(name, id) return id and (prefix .. name .. ':' .. id) or (prefix .. name) end
local function job(id) return key('job', id) end
local function get(id, field) return redis.call('HGET', job(id), field) end
local function batch(id) return key('batch', id) end

-- Whether a text is neither left out nor empty.
local function is_there(text) return text and text ~= '' end

-- A full Redis refuses a script at its first write, unless that write cannot grow. Every script but submit begins with
-- one that cannot, so that jobs still run, end and are forgotten, and room is made again.
local function go_on_when_full() redis.call('DEL', key('full')) end

-- Whether the caller is to ring for a worker: it can (0 ms: it cannot), and no doorbell is on its way yet. A drain that
-- starts forgets this (see `claim`), and so does time: a doorbell may be lost.
local function needs_ring(forget_ms)
  return forget_ms > 0 and redis.call('SET', key('rung'), '1', 'NX', 'PX', forget_ms) and 1 or 0
end

-- The lists that a job in some state ('any' for all) stands in, by its sequence number: everybody's and its owner's.
local function lists(status, owner) return {key('jobs', status), key('owned', status .. ':' .. owner)} end

local function list(id, status, owner, seq)
  for _, jobs in ipairs(lists(status, owner)) do redis.call('ZADD', jobs, seq, id) end
end

local function unlist(id, status, owner)
  for _, jobs in ipairs(lists(status, owner)) do redis.call('ZREM', jobs, id) end
end

-- How many bytes are left of a share of the server's memory, which may have no bound.
local function left_of(share)
  local memory = redis.call('INFO', 'memory')
  local used, allowed = tonumber(memory:match('used_memory:(%d+)')), tonumber(memory:match('maxmemory:(%d+)'))
  return allowed > 0 and share * allowed - used or math.huge
end

local JOB_SHARE = 0.9  -- of the memory, for jobs; the rest is left to what was accepted: its doorbells, its end

-- What the jobs of each sharer take until they are forgotten, in bytes: 'memory' of Redis, 'disk' by their files. Nobody
-- is let take more than three times what is left, so that there is always something left for others. Whoever takes
-- nothing yet is not over its share: where it gets nothing, all of it is taken.
local SHARE = 3

local function take(kind, sharer, bytes)
  if bytes == 0 then return end
  if redis.call('HINCRBY', key('taken', kind), sharer, bytes) <= 0 then redis.call('HDEL', key('taken', kind), sharer) end
end

local function over_share(kind, sharer, more, left, coming)
  local held = (redis.call('HGET', key('taken', kind), sharer) or 0) + (coming or 0)
  return held > 0 and held + more > SHARE * left
end

-- The counts for operators, added up since the store began; shared/store/overview.py reads them. Names and labels come from a few
-- words each, never from a user.
local function tally(name, amount) redis.call('HINCRBY', key('tally'), name, amount or 1) end

-- One value of a distribution: counted under the smallest k for which value <= 2^k.
local function observe(name, value)
  local fraction, exponent = math.frexp(math.max(value, 1))
  tally(name .. ':' .. (fraction == 0.5 and exponent - 1 or exponent))
  tally(name .. ':sum', math.max(0, math.floor(value + 0.5)))
end

-- Counts by state, so that accepted = queued + running + terminal + collected can be checked at any time; the members
-- of a batch are counted in its record too.
local function move(id, from, to)
  local state = redis.call('HMGET', job(id), 'batch', 'owner', 'seq')
  for _, counts in ipairs(state[1] and {key('counts'), batch(state[1])} or {key('counts')}) do
    if from then redis.call('HINCRBY', counts, from, -1) end
    redis.call('HINCRBY', counts, to, 1)
  end
  if from then unlist(id, from, state[2]) end
  list(id, to, state[2], state[3])
  redis.call('HSET', job(id), 'status', to)
  redis.call('PUBLISH', key('events', id), to)
end

-- The models that a job needs, as one word: a pool of workers takes jobs by them. Names hold no comma.
local function needs_of(options)
  local models = cjson.decode(options).models
  table.sort(models)
  return table.concat(models, ',')
end

-- Within a lane, the jobs of each need, in the same order; `needs` lists the needs of whatever waits.
local function own_lane(lane, needs) return key('lane', lane .. ':' .. (needs or '')) end

local function forget_needs(lane, needs)
  if redis.call('EXISTS', own_lane(lane, needs)) == 0 then redis.call('SREM', key('needs', lane), needs or '') end
end

-- What the workers heard within so many ms take, one text each; whoever announced nothing takes everything.
local function announced(heard_ms)
  local texts = {}
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), (now - heard_ms) / 1000, '+inf')) do
    table.insert(texts, redis.call('HGET', key('announced'), worker) or '{"pool":"","models":[],"lanes":[]}')
  end
  return texts
end

-- What somebody takes who serves these lists of models and of lanes; an empty one stands for all.
local function serving(models, lanes)
  local function set(list)
    local found = {}
    for _, name in ipairs(list) do found[name] = true end
    return #list > 0 and found or nil
  end
  local pool = {models = set(models), lanes = set(lanes)}
  function pool.takes(lane, needs)
    if pool.lanes and not pool.lanes[lane] then return false end
    for model in needs:gmatch('[^,]+') do
      if pool.models and not pool.models[model] then return false end
    end
    return true
  end
  return pool
end

local function pool_of(text)
  local data = cjson.decode(text)
  return serving(data.models, data.lanes)
end

-- Sharers take turns within a lane: a sharer is an API key, or an address where none is needed. A turn is a number, and
-- the least is claimed next. Each job of a sharer has its turn behind the one before, and not before the turn that the
-- lane has reached; so nobody stands behind all that another has asked for, and nobody saves up turns by waiting.
-- A long job takes as many turns as a batch has jobs. Of two with the same turn the older job is first.
local SOLO_TURNS = 8
local AGES = 1048576  -- a power of two: so that turn and age make a number that is exact

local function place_of(turn, seq) return turn + seq % AGES / AGES end

local function turns_of(id) return get(id, 'solo') and SOLO_TURNS or 1 end

-- The jobs of an earlier version have sequence numbers instead: they come first.
local function reached(lane)
  local turn = redis.call('GET', key('reached', lane))
  if not turn then
    turn = redis.call('GET', key('sequence')) or 0
    redis.call('SET', key('reached', lane), turn)
  end
  return tonumber(turn)
end

local function next_turn(lane, sharer, count)
  local turn = math.max(tonumber(redis.call('HGET', key('turns', lane), sharer) or 0), reached(lane))
  redis.call('HSET', key('turns', lane), sharer, turn + count)
  return turn
end

-- The caller that last sent a job to a lane or whose job was begun there, for a second; and a caller who sent its only
-- job while another used the lane, for a second, or until it sends more. Claims are small then: see `claim`.
local RECENT_MS = 1000

local function note_user(lane, sharer) redis.call('SET', key('user', lane), sharer, 'PX', RECENT_MS) end

local function note_sender(lane, sharer)
  local user, single = redis.call('GET', key('user', lane)), redis.call('GET', key('single', lane))
  local turn = redis.call('HGET', key('turns', lane), sharer)
  if tonumber(turn or 0) > reached(lane) then
    if single == sharer then redis.call('DEL', key('single', lane)) end
  elseif user and user ~= sharer then
    redis.call('SET', key('single', lane), sharer, 'PX', RECENT_MS)
  end
  note_user(lane, sharer)
end

local function has_a_single(lane) return redis.call('EXISTS', key('single', lane)) == 1 end

-- Of a job that waits no longer and was never claimed.
local function give_turns_back(id, lane, sharer)
  if not get(id, 'turn') then redis.call('HINCRBY', key('turns', lane), sharer, -turns_of(id)) end
end

-- Let a job wait in its lane for its turn; it keeps the one that it had before. A member waits in the queue of its batch
-- as well, and there alone while the batch is held: nobody claims it, and passing it over costs nothing. A lane says
-- that places in it have changed, so that those who follow a waiting job look at its place again.
local function enter_lane(id)
  local state = redis.call('HMGET', job(id), 'lane', 'seq', 'batch', 'needs', 'turn', 'sharer')
  if state[3] then
    redis.call('ZADD', key('queue', state[3]), state[2], id)
    if redis.call('HGET', batch(state[3]), 'status') ~= 'running' then return end
  end
  local turn = state[5] or next_turn(state[1], state[6] or '', turns_of(id))
  for _, lane in ipairs({key('lane', state[1]), own_lane(state[1], state[4])}) do
    redis.call('ZADD', lane, place_of(turn, state[2]), id)
  end
  redis.call('SADD', key('needs', state[1]), state[4] or '')
  redis.call('PUBLISH', key('moves', state[1]), id)
end

-- Returns the turn of a job that waited in its lane, and the lane.
local function leave_lane(id)
  local state = redis.call('HMGET', job(id), 'lane', 'batch', 'follows', 'needs')
  local place = redis.call('ZSCORE', key('lane', state[1]), id)
  if place then
    redis.call('ZREM', key('lane', state[1]), id)
    redis.call('ZREM', own_lane(state[1], state[4]), id)
    forget_needs(state[1], state[4])
    redis.call('PUBLISH', key('moves', state[1]), id)
  end
  if state[2] then redis.call('ZREM', key('queue', state[2]), id) end
  if state[3] then redis.call('ZREM', key('followers', state[3]), id) end
  return place and math.floor(tonumber(place)), state[1]
end

-- The versions of models that unfinished jobs are to be answered by, each text with how many jobs bear it: they stay on
-- the disk meanwhile, replaced or removed.
local function count_versions(text, change)
  if is_there(text) and redis.call('HINCRBY', key('versions'), text, change) <= 0 then
    redis.call('HDEL', key('versions'), text)
  end
end

local function keep_blob(ref) if ref ~= '' then redis.call('HINCRBY', key('blobs'), ref, 1) end end

-- Nothing of an ended batch is forgotten before all of it is.
local function end_batch(id, retention)
  local state = redis.call('HMGET', batch(id), 'queued', 'running', 'status')
  if state[3] == 'filling' or tonumber(state[1]) + tonumber(state[2]) > 0 then return end
  redis.call('HSET', batch(id), 'finished', now)
  redis.call('ZADD', key('batch_expiry'), now + retention, id)
end

-- Whether all members of a batch have ended, so that it is going to be forgotten.
local function has_ended(id)
  local record = redis.call('HMGET', batch(id), 'finished', 'queued', 'running')
  return record[1] and tonumber(record[2]) + tonumber(record[3]) == 0
end

-- Milliseconds from one end of a member to the next, smoothed over some twenty of them.
local function measure_pace(id)
  local state = redis.call('HMGET', batch(id), 'last', 'pace')
  if state[1] then
    local took = now - tonumber(state[1])
    local pace = state[2] and 0.95 * tonumber(state[2]) + 0.05 * took or took
    redis.call('HSET', batch(id), 'pace', string.format('%.3f', pace))
  end
  redis.call('HSET', batch(id), 'last', now)
end

-- A job takes its sharer's share, and says how much until it is forgotten.
local function charge(id, kind, sharer, bytes)
  if bytes == 0 then return end
  redis.call('HINCRBY', job(id), kind, bytes)
  take(kind, sharer, bytes)
end

-- End a job for good. Terminal states are absorbing: callers have checked that it is queued or running. Those that
-- wait for the same answer get it, or go on without a job that was cancelled: the first of them leads the others.
local function conclude(id, status, result, error, retention)
  local state = redis.call('HMGET', job(id), 'status', 'batch', 'webhook', 'lane', 'created', 'cached', 'versions', 'sharer')
  if leave_lane(id) then give_turns_back(id, state[4], state[8] or '') end
  redis.call('ZREM', key('running'), id)
  redis.call('ZREM', key('deadlines'), id)
  redis.call('HSET', job(id), 'finished', now, 'result', result, 'error', error)
  redis.call('HDEL', job(id), 'progress')
  keep_blob(result)
  count_versions(state[7], -1)
  move(id, state[1], status)
  if state[3] then redis.call('ZADD', key('webhooks'), now, id) end  -- whom to tell of it, and since when
  tally('ended:' .. state[4] .. ':' .. status .. ':' .. (error ~= '' and cjson.decode(error).code or ''))
  observe('stay:' .. state[4], now - tonumber(state[5]))
  if state[6] then tally('cached:' .. state[4]) end

  local followers = redis.call('ZRANGE', key('followers', id), 0, -1)
  redis.call('DEL', key('followers', id))
  for place, follower in ipairs(followers) do
    if status ~= 'cancelled' then
      if status == 'succeeded' then redis.call('HSET', job(follower), 'cached', '1', 'started', now) end
      conclude(follower, status, result, error, retention)
    elseif place == 1 then
      redis.call('HDEL', job(follower), 'follows')
      enter_lane(follower)
    else
      redis.call('HSET', job(follower), 'follows', followers[1])
      redis.call('ZADD', key('followers', followers[1]), get(follower, 'seq'), follower)
    end
  end

  if not state[2] then
    redis.call('ZADD', key('expiry'), now + retention, id)
    return
  end
  if state[1] == 'running' then measure_pace(state[2]) end
  end_batch(state[2], retention)
end

-- Take in a new job, as `submit` and `batch_enlist` are given it. It ends at once where its answer is known or where it
-- cannot be run, waits for its leader where that job waits to answer the same question, and for a worker otherwise.
local function admit(new)
  local seq = redis.call('INCR', key('sequence'))
  redis.call('HSET', job(new.id), 'lane', new.lane, 'seq', seq, 'options', new.options, 'image', new.image,
    'image_ref', new.image_ref, 'owner', new.owner, 'idempotency', new.idempotency or '', 'answer', new.answer,
    'created', now, 'attempts', 0, 'fence', 0, 'deadline', now + new.deadline_ms, 'mask_ref', new.mask_ref or '',
    'request', new.request, 'needs', needs_of(new.options), 'sharer', new.sharer)
  if new.solo then redis.call('HSET', job(new.id), 'solo', '1') end
  if new.batch then redis.call('HSET', job(new.id), 'batch', new.batch) end
  if new.versions ~= '' then redis.call('HSET', job(new.id), 'versions', new.versions) end
  if is_there(new.webhook) then redis.call('HSET', job(new.id), 'webhook', new.webhook) end
  charge(new.id, 'memory', new.sharer, new.memory)
  list(new.id, 'any', new.owner, seq)
  redis.call('HINCRBY', key('counts'), 'accepted', 1)
  keep_blob(new.image_ref)
  keep_blob(new.mask_ref or '')
  count_versions(new.versions, 1)
  move(new.id, nil, 'queued')

  local answered = new.answer ~= '' and redis.call('GET', key('answer', new.owner .. ':' .. new.answer))
  if answered then
    redis.call('HSET', job(new.id), 'cached', '1', 'started', now)
    conclude(new.id, 'succeeded', answered, '', new.retention_ms)
    return
  end
  if is_there(new.error) then
    conclude(new.id, 'failed', '', new.error, new.retention_ms)
    return
  end
  charge(new.id, 'disk', new.sharer, new.disk)
  redis.call('ZADD', key('deadlines'), now + new.deadline_ms, new.id)
  if is_there(new.leader) and get(new.leader, 'status') == 'queued' then
    redis.call('HSET', job(new.id), 'follows', new.leader)
    redis.call('ZADD', key('followers', new.leader), seq, new.id)
  else
    enter_lane(new.id)
  end
end

-- Give a running job back to its lane.
local function requeue(id, solo)
  redis.call('ZREM', key('running'), id)
  redis.call('HDEL', job(id), 'started', 'progress')
  if solo then redis.call('HSET', job(id), 'solo', '1') end
  enter_lane(id)
  move(id, 'running', 'queued')
end

-- Prolong the lease of a running job. Returns 1 go on, 0 no longer ours, 2 cancelled, 3 past its deadline.
local function renew_lease(claim, lease_ms)
  local state = redis.call('HMGET', job(claim.id), 'status', 'fence', 'cancel', 'deadline')
  if state[1] ~= 'running' or state[2] ~= claim.fence then return 0 end
  if state[3] then return 2 end
  if tonumber(state[4]) < now then return 3 end
  redis.call('ZADD', key('running'), 'XX', now + lease_ms, claim.id)
  return 1
end

-- Cancel a batch: whoever waits ends at once, followers before those whom they follow; whoever runs is told.
local function cancel_batch(id, operation, retention)
  redis.call('HSET', batch(id), 'status', 'cancelled')
  redis.call('ZREM', key('filling'), id)
  local members = redis.call('LRANGE', key('members', id), 0, -1)
  for place = #members, 1, -1 do
    local status = get(members[place], 'status')
    if status == 'queued' or status == 'running' then redis.call('HSET', job(members[place]), 'cancel', operation) end
    if status == 'queued' then conclude(members[place], 'cancelled', '', '', retention) end
  end
  end_batch(id, retention)
end

-- End a job that was taken as often as one may be.
local function give_up(id, retention)
  local error = {code = 'worker_lost', message = 'Every worker that took this job stopped while running it.'}
  conclude(id, 'failed', '', cjson.encode(error), retention)
end
