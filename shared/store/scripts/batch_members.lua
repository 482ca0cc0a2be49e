-- ARGV: batch, first place, how many, then the wanted states (none: all). Returns {place after the last one looked at,
-- place, id, fields, place, id, fields, ...}; looks at no more than a thousand members.
local id, place, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local wanted = {}
for i = 4, #ARGV do wanted[ARGV[i]] = true end
local found = {}
for _, member in ipairs(redis.call('LRANGE', key('members', id), place, place + 999)) do
  if #found >= 3 * most then break end
  if #ARGV < 4 or wanted[get(member, 'status')] then
    for _, part in ipairs({place, member, redis.call('HGETALL', job(member))}) do table.insert(found, part) end
  end
  place = place + 1
end
table.insert(found, 1, place)
return found
