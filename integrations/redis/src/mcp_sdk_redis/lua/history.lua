-- The last transitions of an entity, newest first. KEYS: entities, log. ARGV: the entity's key, how many at most.
local value = redis.call('HGET', KEYS[1], ARGV[1])
local id, lines = value and string.match(value, '^[^ ]*') or '', {}
while id ~= '' and #lines < tonumber(ARGV[2]) do
  local line = redis.call('HGET', KEYS[2], id)
  if not line then
    break
  end
  lines[#lines + 1] = line
  id = string.match(line, '^%["([^"]*)"')
end
return table.concat(lines, '\n')
