-- Lets the retention of what has ended pass at once, so that `collect` forgets it next.
--   id: of a job or of a batch
-- Returns 'unknown', 'active', 'member' (of a batch, with which it is forgotten) or 'done'.
go_on_when_full()
local id = given.id
local state = redis.call('HMGET', job(id), 'status', 'batch', 'finished')
if state[1] then
  if state[2] then return 'member' end
  if not state[3] then return 'active' end
  redis.call('ZADD', key('expiry'), 'XX', 0, id)
  return 'done'
end
if redis.call('EXISTS', batch(id)) == 0 then return 'unknown' end
if not has_ended(id) then return 'active' end
redis.call('ZADD', key('batch_expiry'), 'XX', 0, id)
return 'done'
