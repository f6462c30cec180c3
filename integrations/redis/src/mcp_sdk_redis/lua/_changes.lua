-- What every script that writes begins with. KEYS[1..4] and ARGV[1..3] are the same for all of them.
local META, CHANGES, LOG, NOTICES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local DAY = 86400000
local LIMIT = 1000 -- how many values are unpacked into one call; Lua's stack holds some thousands
local TIME = redis.call('TIME')
local NOW = TIME[1] * 1000 + math.floor(TIME[2] / 1000)

redis.call('HSETNX', META, 'identity', ARGV[1])

-- Calls a command with any number of further values, of which `step` belong together.
local function many(step, values, ...)
  local size = LIMIT - LIMIT % step
  for first = 1, #values, size do
    local call = {...}
    for index = first, math.min(first + size - 1, #values) do
      call[#call + 1] = values[index]
    end
    redis.call(unpack(call))
  end
end

-- Erases what the log holds of the oldest changes: those beyond the age and the size that are kept. `added` changes
-- came now; a little more than that goes at once, so that no call takes long and the log never grows.
local function trim(added)
  local over = redis.call('XLEN', CHANGES) - tonumber(ARGV[3])
  local budget = added * 2 + 16
  local rows
  if over > 0 then
    rows = redis.call('XRANGE', CHANGES, '-', '+', 'COUNT', math.min(over, budget))
  else
    rows = redis.call('XRANGE', CHANGES, '-', string.format('%d', NOW - tonumber(ARGV[2])), 'COUNT', budget)
  end
  if #rows == 0 then
    return
  end
  local ids = {}
  for index, row in ipairs(rows) do
    ids[index] = row[1]
  end
  many(1, ids, 'HDEL', LOG)
  many(1, ids, 'XDEL', CHANGES)
  redis.call('HSET', META, 'trimmed', ids[#ids])
end

-- Gives the id of the newest change, also where it was trimmed.
local function newest()
  local last = redis.call('XREVRANGE', CHANGES, '+', '-', 'COUNT', 1)
  return last[1] and last[1][1] or redis.call('HGET', META, 'trimmed') or '0-0'
end

-- Tells watchers. `detail` stays in the stream; what may have to be erased stands in the log, under the change's id.
local function change(kind, detail, content)
  local id = redis.call('XADD', CHANGES, '*', kind, detail)
  if content then
    redis.call('HSET', LOG, id, content)
  end
  return id
end

-- Erases names of what was forgotten more than a day ago.
local function hush()
  while true do
    local oldest = redis.call('LINDEX', NOTICES, 0)
    if not oldest or tonumber(string.match(oldest, '^%d+')) > NOW - DAY then
      return
    end
    redis.call('HDEL', LOG, redis.call('LPOP', NOTICES))
  end
end
