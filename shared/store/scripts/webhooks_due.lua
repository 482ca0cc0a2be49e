-- Takes nothing. Returns how many webhooks are to be sent now.
return redis.call('ZCOUNT', key('webhooks'), '-inf', now)
