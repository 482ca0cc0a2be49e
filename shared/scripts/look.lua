-- ARGV: id, whether the viewer is bound to its own jobs (1), viewer. Returns all fields of the job; none where there is
-- no such job or the viewer may not see it, after the same steps.
local owner = redis.call('HGET', job(ARGV[1]), 'owner')
if not owner or (ARGV[2] == '1' and owner ~= ARGV[3]) then return {} end
return redis.call('HGETALL', job(ARGV[1]))
