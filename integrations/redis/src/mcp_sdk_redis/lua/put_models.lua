-- KEYS[5]: models of a scope. ARGV[4]: the scope; then names and declarations.
local changed = {}
for index = 5, #ARGV, 2 do
  if redis.call('HGET', KEYS[5], ARGV[index]) ~= ARGV[index + 1] then
    changed[#changed + 1] = ARGV[index]
    changed[#changed + 1] = ARGV[index + 1]
  end
end
if #changed > 0 then
  many(2, changed, 'HSET', KEYS[5])
  change('models', ARGV[4])
  trim(1)
end
