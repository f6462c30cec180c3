-- KEYS[5]: leases of a scope. ARGV[4..7]: the scope, the lease's name, the endpoint, its time to live in ms.
local leases = redis.call('HGETALL', KEYS[5])
local number, before
for index = 1, #leases, 2 do
  local lease = cjson.decode(leases[index + 1])
  if lease[1] <= NOW then
    redis.call('HDEL', KEYS[5], leases[index])
  elseif leases[index] == ARGV[5] then
    number, before = lease[2], lease[3]
  end
end
number = number or redis.call('HINCRBY', META, 'leases', 1)
redis.call('HSET', KEYS[5], ARGV[5], cjson.encode({NOW + tonumber(ARGV[7]), number, ARGV[6]}))
if before ~= ARGV[6] then
  change('services', ARGV[4])
  trim(1)
end
