-- Adds members to a batch that is being filled; those already there are left as they are.
--   batch: its id
--   first: place of the first of these members
--   deadline_ms: for how long a member may wait and run
--   retention_ms: how long it is kept after its end
--   members: a list, of each:
--     id: of its job
--     image: what is known of its picture, a JSON text
--     image_ref: names the picture's file; '': there is none
--     answer: names the question, for answers that are known; ''
--     solo: whether it is a long job
--     error: why it cannot be run, a JSON text; ''
--     leader: id of a member that asks the same question; ''
--     memory: bytes of Redis's memory that it takes
--     disk: bytes that its file takes of the disk
-- Returns 1 where they were added.
go_on_when_full()
local id = given.batch
local record = redis.call('HMGET', batch(id), 'status', 'owner', 'options', 'request', 'versions', 'sharer')
if record[1] ~= 'filling' or redis.call('LLEN', key('members', id)) ~= given.first then return 0 end
for _, member in ipairs(given.members) do
  redis.call('RPUSH', key('members', id), member.id)
  member.lane, member.batch, member.owner, member.options = 'bulk', id, record[2], record[3]
  member.request, member.versions, member.sharer = record[4] or '', record[5] or '', record[6] or ''
  member.deadline_ms, member.retention_ms = given.deadline_ms, given.retention_ms
  admit(member)
  redis.call('HINCRBY', batch(id), 'coming', -member.memory)
end
return 1
