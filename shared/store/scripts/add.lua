-- Adds to the counts for operators.
--   operation: names this very call, which may be sent again
--   amounts: by the name of what is counted
-- Returns nothing.
go_on_when_full()
if not redis.call('SET', key('added', given.operation), 1, 'NX', 'PX', 600000) then return end  -- sent again
for name, amount in pairs(given.amounts) do tally(name, amount) end
