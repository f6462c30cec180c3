-- KEYS[5]: the audit log. ARGV[4..6]: the scope, the number, the entry. Gives the number of the last one there was.
local last = redis.call('LLEN', KEYS[5])
if last + 1 == tonumber(ARGV[5]) then
  redis.call('RPUSH', KEYS[5], ARGV[6])
  change('audit', ARGV[4])
  trim(1)
end
return last
