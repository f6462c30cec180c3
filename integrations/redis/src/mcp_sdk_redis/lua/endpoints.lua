-- KEYS: leases of a scope. Gives the milliseconds since the epoch, and the leases.
local time = redis.call('TIME')
return {time[1] * 1000 + math.floor(time[2] / 1000), redis.call('HVALS', KEYS[1])}
