-- The rule of mcp_sdk.stores.ledger.Ledger, in the server: one round trip, and no writer ever has to try again.
-- KEYS[5..7]: entities, by id, by state; KEYS[8..11]: event ids of half a day each; KEYS[12..]: ages of each head.
-- ARGV[4]: [[head, scope], …]; ARGV[5]: '1' where what is written is to be told; ARGV[6..]: transitions as rows.py writes
-- them. Gives a line of results for each; and, where it is to be told, the identity, the id of the change before, and a
-- line for each entry of the log: which transition, its id, what became of it, since when the entity is in its state, and
-- the context after it, unless the transition says all the rest of that.
local ENTITIES, BY_ID, BY_STATE = KEYS[5], KEYS[6], KEYS[7]
local NONE = cjson.null
local HEAD, ID, EVENT, TO_STATE, COMMITTED, BASE, BATCH, OBSERVED, SOURCE, ATTRIBUTES = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local HALF_DAY = 43200

local scopes, ages = {}, {}
for index, pair in ipairs(cjson.decode(ARGV[4])) do
  scopes[pair[1]], ages[pair[1]] = pair[2], KEYS[11 + index]
end

local sent, keys, events = {}, {}, {}
for index = 6, #ARGV do
  local t = cjson.decode(ARGV[index])
  local number = index - 5
  sent[number], keys[number], events[number] = t, t[HEAD] .. t[ID], scopes[t[HEAD]] .. t[EVENT]
end

-- Event ids of the last day and a half at most are in four hashes that take turns; one that comes round is emptied.
local half = math.floor(TIME[1] / HALF_DAY)
local bucket = KEYS[8 + half % 4]
if redis.call('HGET', META, 'seen' .. half % 4) ~= tostring(half) then
  redis.call('UNLINK', bucket)
  redis.call('HSET', META, 'seen' .. half % 4, half)
end

local seen, remembered = {}, {}
for index = 8, 11 do
  local some = redis.call('EXISTS', KEYS[index]) == 1 and #events or 0
  for first = 1, some, LIMIT do
    local last = math.min(first + LIMIT - 1, some)
    local found = redis.call('HMGET', KEYS[index], unpack(events, first, last))
    for offset = 1, last - first + 1 do
      if found[offset] then
        seen[events[first + offset - 1]] = found[offset]
      end
    end
  end
end

-- An entity: head is the id of its newest change in the log, text its context, or '' where there is none.
local entities = {}
for first = 1, #keys, LIMIT do
  local last = math.min(first + LIMIT - 1, #keys)
  local found = redis.call('HMGET', ENTITIES, unpack(keys, first, last))
  for offset = 1, last - first + 1 do
    local value, entity = found[offset], {head = '', text = ''}
    if value then
      local space = string.find(value, ' ', 1, true)
      entity.head, entity.text = string.sub(value, 1, space - 1), string.sub(value, space + 1)
    end
    entities[keys[first + offset - 1]] = entity
  end
end

-- A context is {state, revision, observed, source, entered, attributes}; one that is made is never changed.
local EMPTY = {NONE, 0, NONE, '', NONE, {}}

local function context(entity)
  if not entity.context then
    entity.context = entity.text == '' and EMPTY or cjson.decode(entity.text)
  end
  return entity.context
end

local function merged(current, changed)
  if next(changed) == nil then
    return current
  end
  local both
  for name in pairs(current) do
    both = both or changed[name] == nil
  end
  if not both then
    return changed
  end
  both = {}
  for name, value in pairs(current) do
    both[name] = value
  end
  for name, value in pairs(changed) do
    both[name] = value
  end
  return both
end

local function moved(current, t)
  local state = t[TO_STATE] == NONE and current[1] or t[TO_STATE]
  local entered = state == current[1] and current[5] or t[OBSERVED]
  return {state, current[2] + 1, t[OBSERVED], t[SOURCE], entered, merged(current[6], t[ATTRIBUTES])}
end

local function changes(t)
  return t[COMMITTED] and t[ID] ~= ''
end

-- What is settled: contexts of entities that moved, and three values of each transition that the log has not yet.
local live, results = {}, {}
local numbers, statuses, contexts = {}, {}, {}

local function again(result)
  if string.sub(result, 1, 1) == 'a' then
    return 'd' .. string.sub(result, 2)
  end
  return result
end

-- Gives what becomes of a transition, the context after it, which it puts into `staged`, and since when it was before.
local function try(number, staged)
  local t, key = sent[number], keys[number]
  local current = staged[key] or live[key] or context(entities[key])
  if not changes(t) then
    return 'g', current, ''
  elseif t[BASE] ~= NONE and t[BASE] ~= current[2] then
    return 'l', current, ''
  end
  local after = moved(current, t)
  staged[key] = after
  return 'a', after, current[5] ~= NONE and after[1] ~= current[1] and current[5] or ''
end

local function enter(number, status, after, since)
  local result, count = status .. after[2], #numbers + 1
  numbers[count], statuses[count], contexts[count] = number, status, after
  seen[events[number]] = result
  remembered[#remembered + 1] = events[number]
  remembered[#remembered + 1] = result
  return result .. ' ' .. since
end

local function one(number)
  local earlier = seen[events[number]]
  results[number] = earlier and again(earlier) .. ' ' or enter(number, try(number, live))
end

local function batch(group)
  local order, fresh = {}, {}
  for _, number in ipairs(group) do
    local event = events[number]
    if not seen[event] then
      if not fresh[event] then
        order[#order + 1] = event
      end
      fresh[event] = number
    end
  end
  local staged, tried, late = {}, {}, false
  for index, event in ipairs(order) do
    tried[index] = {try(fresh[event], staged)}
    late = late or tried[index][1] == 'l'
  end
  if late then
    for index, event in ipairs(order) do
      local key = keys[fresh[event]]
      tried[index] = {changes(sent[fresh[event]]) and 'l' or 'g', live[key] or context(entities[key]), ''}
    end
  else
    for key, after in pairs(staged) do
      live[key] = after
    end
  end
  local first = {}
  for index, event in ipairs(order) do
    first[event] = enter(fresh[event], unpack(tried[index]))
  end
  for _, number in ipairs(group) do
    local event = events[number]
    results[number] = first[event] or again(seen[event]) .. ' '
    first[event] = nil
  end
end

local groups, of = {}, {}
for number, t in ipairs(sent) do
  if t[BATCH] == '' then
    groups[#groups + 1] = number
  else
    local name = scopes[t[HEAD]] .. t[BATCH]
    if not of[name] then
      of[name] = {}
      groups[#groups + 1] = of[name]
    end
    table.insert(of[name], number)
  end
end
for _, group in ipairs(groups) do
  if type(group) == 'number' then
    one(group)
  else
    batch(group)
  end
end

-- Everything is settled; from here on it is written. The log's entries of one entity are chained, newest first.
local tell, before = ARGV[5] == '1', ''
if tell and #numbers > 0 then
  before = newest()
end
local texts, lines, told = {[EMPTY] = ''}, {}, {}
for index, number in ipairs(numbers) do
  local after, entity = contexts[index], entities[keys[number]]
  local text = texts[after]
  if not text then
    text = cjson.encode(after)
    texts[after] = text
  end
  local id = redis.call('XADD', CHANGES, '*', 't', '')
  lines[2 * index - 1] = id
  lines[2 * index] = '["' .. entity.head .. '","' .. statuses[index] .. '",' .. (text == '' and 'null' or text) .. ','
    .. ARGV[number + 5] .. ']'
  entity.head, entity.touched = id, true
  if tell then
    local t = sent[number]
    local said = statuses[index] == 'a' and after[1] == t[TO_STATE] and after[5] ~= NONE and after[6] == t[ATTRIBUTES]
    told[index] = number .. '\t' .. id .. '\t' .. statuses[index] .. after[2] .. '\t'
      .. (said and after[5] .. '\t' or '\t' .. (text == '' and 'null' or text))
  end
end

local function member(t, state)
  return t[HEAD] .. #state .. ':' .. state .. ':' .. t[ID]
end

local moment = TIME[1] .. '.' .. string.format('%06d', TIME[2])
local put, added, left, came, aged = {}, {}, {}, {}, {}
for _, number in ipairs(numbers) do
  local key = keys[number]
  local entity = entities[key]
  if entity.touched then
    entity.touched = false
    local t, before, after = sent[number], context(entity), live[key]
    put[#put + 1] = key
    put[#put + 1] = entity.head .. ' ' .. (after and texts[after] or entity.text)
    if after and entity.text == '' then
      added[#added + 1] = 0
      added[#added + 1] = key
    end
    if after and after[1] ~= before[1] then
      if before[1] ~= NONE then
        left[#left + 1] = member(t, before[1])
      end
      came[#came + 1] = 0
      came[#came + 1] = member(t, after[1])
    end
    if after or entity.text == '' then
      local list = aged[t[HEAD]] or {}
      aged[t[HEAD]] = list
      list[#list + 1] = moment
      list[#list + 1] = t[ID]
    end
  end
end
many(2, lines, 'HSET', LOG)
many(2, put, 'HSET', ENTITIES)
many(2, added, 'ZADD', BY_ID)
many(1, left, 'ZREM', BY_STATE)
many(2, came, 'ZADD', BY_STATE)
many(2, remembered, 'HSET', bucket)
for head, list in pairs(aged) do
  many(2, list, 'ZADD', ages[head])
end
if #numbers > 0 then
  trim(#numbers)
end
return {table.concat(results, '\n'), redis.call('HGET', META, 'identity'), before, table.concat(told, '\n')}
