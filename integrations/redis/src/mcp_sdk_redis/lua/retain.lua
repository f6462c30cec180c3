-- ARGV[4..6]: head, a moment in seconds, and how many entities at most. Gives how many were looked at, and erased.
hush()
local ids = redis.call('ZRANGEBYSCORE', AGES, '-inf', '(' .. ARGV[5], 'LIMIT', 0, ARGV[6])
local erased = 0
for _, id in ipairs(ids) do
  local held = erase(ARGV[4], id)
  if held > 0 then
    erased = erased + 1
    told(ARGV[4], id)
  end
end
trim(#ids)
return {#ids, erased}
