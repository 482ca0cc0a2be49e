-- Lets the retention of what has ended of one owner pass at once, so that `collect` forgets it next: jobs, and batches all
-- of whose members have ended.
--   owner: id of an API key
--   behind: the sequence number to go on behind, as text
--   most: how many jobs to look at
--   dry: whether only to count them
-- Returns {how many jobs these are, where to go on}; nothing there at the end.
go_on_when_full()
local found = redis.call('ZRANGEBYSCORE', key('owned', 'any:' .. given.owner), '(' .. given.behind, '+inf', 'WITHSCORES',
  'LIMIT', 0, given.most)
local count, ended = 0, {}

local function expire(list, id) if not given.dry then redis.call('ZADD', key(list), 'XX', 0, id) end end

for place = 1, #found, 2 do
  local state = redis.call('HMGET', job(found[place]), 'batch', 'finished')
  local of = state[1]
  if of and ended[of] == nil then
    ended[of] = has_ended(of) or false
    if ended[of] then expire('batch_expiry', of) end
  elseif not of and state[2] then
    expire('expiry', found[place])
  end
  if (of and ended[of]) or (not of and state[2]) then count = count + 1 end
end
return {count, #found == 2 * given.most and found[#found] or false}
