-- Counts one more request where that is allowed. A window slides: of the last whole one that share counts which lies within
-- a window's length from now.
--   name: what is counted, and whose
--   most: how many are allowed in a window
--   window_ms: its length
-- Returns 0, or in how many ms one more will be allowed.
go_on_when_full()
local window = given.window_ms
local number = math.floor(now / window)
local left = (number + 1) * window - now
local this, last = key('rate', given.name .. ':' .. number), key('rate', given.name .. ':' .. (number - 1))
local before, count = tonumber(redis.call('GET', last) or 0), tonumber(redis.call('GET', this) or 0)
if count + before * left / window + 1 > given.most then return left end
redis.call('INCR', this)
redis.call('PEXPIRE', this, 2 * window)
return 0
