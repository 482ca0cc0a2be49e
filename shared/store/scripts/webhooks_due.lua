-- Returns how many webhooks are to be sent now. ARGV: none.
return redis.call('ZCOUNT', key('webhooks'), '-inf', now)
