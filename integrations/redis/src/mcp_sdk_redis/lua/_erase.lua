-- KEYS[5..8]: entities, by id, by state, ages. What of a chain was trimmed ends it: everything before is gone too.
local ENTITIES, BY_ID, BY_STATE, AGES = KEYS[5], KEYS[6], KEYS[7], KEYS[8]

local function chain(id)
  local ids = {}
  while id ~= '' do
    local line = redis.call('HGET', LOG, id)
    if not line then
      return ids
    end
    ids[#ids + 1] = id
    id = string.match(line, '^%["([^"]*)"')
  end
  return ids
end

-- Erases an entity; gives whether it had a context, and how many of its transitions went.
local function erase(head, id)
  local key = head .. id
  local value = redis.call('HGET', ENTITIES, key)
  redis.call('ZREM', AGES, id)
  if not value then
    return 0, 0
  end
  local space = string.find(value, ' ', 1, true)
  local text = string.sub(value, space + 1)
  local ids = chain(string.sub(value, 1, space - 1))
  many(1, ids, 'HDEL', LOG)
  redis.call('HDEL', ENTITIES, key)
  if text == '' then
    return 0, #ids
  end
  local state = cjson.decode(text)[1]
  redis.call('ZREM', BY_ID, key)
  if state ~= cjson.null then
    redis.call('ZREM', BY_STATE, head .. #state .. ':' .. state .. ':' .. id)
  end
  return 1, #ids
end

local function told(head, id)
  redis.call('RPUSH', NOTICES, change('forgotten', '', cjson.encode({head, id})))
end
