-- ARGV: operation id, then name and amount of each figure to be added to what operators are told.
go_on_when_full()
if not redis.call('SET', key('added', ARGV[1]), 1, 'NX', 'PX', 600000) then return end  -- this very call, sent again
for i = 2, #ARGV, 2 do tally(ARGV[i], ARGV[i + 1]) end
