-- ARGV: batch, place of the first member, deadline ms, retention ms, then of each member: id, image, image_ref,
-- answer key, solo, error, leader, bytes of memory, bytes on the disk. Adds the members from that place on; those already
-- there are left as they are.
go_on_when_full()
local id, first = ARGV[1], tonumber(ARGV[2])
local record = redis.call('HMGET', batch(id), 'status', 'owner', 'options', 'request', 'versions', 'sharer')
if record[1] ~= 'filling' or redis.call('LLEN', key('members', id)) ~= first then return 0 end
for i = 5, #ARGV, 9 do
  redis.call('RPUSH', key('members', id), ARGV[i])
  admit({id = ARGV[i], lane = 'bulk', batch = id, owner = record[2], options = record[3], image = ARGV[i + 1],
    image_ref = ARGV[i + 2], answer = ARGV[i + 3], solo = ARGV[i + 4] == '1', error = ARGV[i + 5], request = record[4] or '',
    deadline = tonumber(ARGV[3]), retention = tonumber(ARGV[4]), versions = record[5] or '', sharer = record[6] or '',
    memory = tonumber(ARGV[i + 7]), disk = tonumber(ARGV[i + 8])}, ARGV[i + 6])
  redis.call('HINCRBY', batch(id), 'coming', -ARGV[i + 7])
end
return 1
