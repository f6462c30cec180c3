-- KEYS[5]: policies of a scope. ARGV[4..7]: the scope, the revision that is replaced, what is told of the new one, its
-- programs. Gives the revision that was there.
local current = tonumber(redis.call('HGET', KEYS[5], 'newest') or 0)
if current == tonumber(ARGV[5]) then
  local revision = string.format('%d', current + 1)
  redis.call('HSET', KEYS[5], 'newest', revision, revision, ARGV[6], 'programs ' .. revision, ARGV[7])
  change('policies', ARGV[4])
  trim(1)
end
return current
