-- Lists members of a batch, and looks at no more than a thousand of them.
--   batch: its id
--   first: place to begin at
--   most: how many to list
--   states: only those in one of these; none: all
-- Returns {place after the last one looked at, place, id, fields, place, id, fields, ...}.
local place, wanted, found = given.first, {}, {}
for _, state in ipairs(given.states) do wanted[state] = true end
for _, member in ipairs(redis.call('LRANGE', key('members', given.batch), place, place + 999)) do
  if #found >= 3 * given.most then break end
  if #given.states == 0 or wanted[get(member, 'status')] then
    for _, part in ipairs({place, member, redis.call('HGETALL', job(member))}) do table.insert(found, part) end
  end
  place = place + 1
end
table.insert(found, 1, place)
return found
