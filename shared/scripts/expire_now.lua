-- ARGV: id of a job or of a batch. Lets the retention of what has ended pass at once, so that `collect` forgets it next.
-- Returns 'unknown', 'active', 'member' (of a batch, with which it is forgotten) or 'done'.
go_on_when_full()
local id = ARGV[1]
local state = redis.call('HMGET', job(id), 'status', 'batch', 'finished')
if state[1] then
  if state[2] then return 'member' end
  if not state[3] then return 'active' end
  redis.call('ZADD', key('expiry'), 'XX', 0, id)
  return 'done'
end
local record = redis.call('HMGET', batch(id), 'status', 'finished', 'queued', 'running')
if not record[1] then return 'unknown' end
if not record[2] or tonumber(record[3]) + tonumber(record[4]) > 0 then return 'active' end
redis.call('ZADD', key('batch_expiry'), 'XX', 0, id)
return 'done'
