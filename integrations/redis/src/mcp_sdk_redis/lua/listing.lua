-- A page of entities. KEYS: entities, an index. ARGV: from, to, how many at most, the key before an id, the member
-- before an id in the index. Gives a line of id and context each.
local members = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
local lines = {}
for first = 1, #members, 1000 do
  local keys = {}
  for index = first, math.min(first + 999, #members) do
    keys[#keys + 1] = ARGV[4] .. string.sub(members[index], #ARGV[5] + 1)
  end
  for offset, value in ipairs(redis.call('HMGET', KEYS[1], unpack(keys))) do
    local id = string.sub(members[first + offset - 1], #ARGV[5] + 1)
    lines[#lines + 1] = cjson.encode(id) .. '\t' .. string.match(value, '^[^ ]* (.*)$')
  end
end
return table.concat(lines, '\n')
