-- KEYS[5]: models of a scope. ARGV[4..5]: the scope, and 1 where what is stored is compared; then names, declarations,
-- and what each is to replace, '' for nothing. Gives 0 where one that changes replaces something else.
local changed = {}
for index = 6, #ARGV, 3 do
  local stored = redis.call('HGET', KEYS[5], ARGV[index]) or ''
  if stored ~= ARGV[index + 1] then
    if ARGV[5] == '1' and stored ~= ARGV[index + 2] then
      return 0
    end
    changed[#changed + 1] = ARGV[index]
    changed[#changed + 1] = ARGV[index + 1]
  end
end
if #changed > 0 then
  many(2, changed, 'HSET', KEYS[5])
  change('models', ARGV[4])
  trim(1)
end
return 1
