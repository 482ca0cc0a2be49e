-- ARGV: what is counted and whose, how many are allowed in a window, its length in ms. Counts one more where that is
-- allowed. Returns 0, or in how many ms it will be. A window slides: of the last whole one that share counts which lies
-- within a window's length from now.
go_on_when_full()
local most, window = tonumber(ARGV[2]), tonumber(ARGV[3])
local number = math.floor(now / window)
local left = (number + 1) * window - now
local this, last = key('rate', ARGV[1] .. ':' .. number), key('rate', ARGV[1] .. ':' .. (number - 1))
local before, count = tonumber(redis.call('GET', last) or 0), tonumber(redis.call('GET', this) or 0)
if count + before * left / window + 1 > most then return left end
redis.call('INCR', this)
redis.call('PEXPIRE', this, 2 * window)
return 0
