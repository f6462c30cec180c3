-- KEYS[5]: records of a scope and kind. ARGV[4..7]: scope and kind, the name, the revision that is replaced, the
-- content; without a content the record is deleted. Gives the revision that was there.
local stored = redis.call('HGET', KEYS[5], ARGV[5])
local current = stored and tonumber(string.match(stored, '^%d+')) or 0
if ARGV[7] and current == tonumber(ARGV[6]) then
  redis.call('HSET', KEYS[5], ARGV[5], string.format('%d', current + 1) .. ' ' .. ARGV[7])
elseif not ARGV[7] and current > 0 and current == tonumber(ARGV[6]) then
  redis.call('HDEL', KEYS[5], ARGV[5])
else
  return current
end
change('records', ARGV[4])
trim(1)
return current
