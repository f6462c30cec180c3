-- Seconds since the epoch by the server's clock, as text. KEYS: any one of the store's.
local time = redis.call('TIME')
return time[1] .. '.' .. string.format('%06d', time[2])
