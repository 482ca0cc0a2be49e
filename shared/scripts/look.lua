-- ARGV: id, whether the viewer is bound to its own jobs (1), viewer. Returns how many wait before the job (nothing where it
-- does not wait in a lane), the pace of the workers in ms a job, and all fields of the job; none where there is no such
-- job or the viewer may not see it, after the same steps.
local state = redis.call('HMGET', job(ARGV[1]), 'owner', 'lane')
if not state[1] or (ARGV[2] == '1' and state[1] ~= ARGV[3]) then return {} end
local ahead = redis.call('ZRANK', key('lane', state[2]), ARGV[1])
if ahead and state[2] == 'bulk' then ahead = ahead + redis.call('ZCARD', key('lane', 'interactive')) end
return {ahead, redis.call('GET', key('pace')), redis.call('HGETALL', job(ARGV[1]))}
