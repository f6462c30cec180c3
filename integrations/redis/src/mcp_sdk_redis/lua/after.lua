-- The changes after a position. KEYS: meta, changes, log. ARGV: identity, id, how many at most, the last id or '+'.
-- The change at a position is still in the stream, or the position is the last that was trimmed: else it is not ours,
-- too old, or a failover lost it. Gives the identity, the position where there is nothing to go on from, and lines.
local META, CHANGES, LOG = KEYS[1], KEYS[2], KEYS[3]
local identity = redis.call('HGET', META, 'identity') or ''
local trimmed = redis.call('HGET', META, 'trimmed') or '0-0'
local rows, first = {}, 1

local function newest()
  local last = redis.call('XREVRANGE', CHANGES, '+', '-', 'COUNT', 1)
  return last[1] and last[1][1] or trimmed
end

if ARGV[2] == '' then
  return {identity, newest(), ''}
end
local known = ARGV[1] == identity
if known then
  rows = redis.call('XRANGE', CHANGES, ARGV[2], ARGV[4], 'COUNT', ARGV[3] + 1)
  if ARGV[2] ~= trimmed then
    known = rows[1] and rows[1][1] == ARGV[2]
    first = 2
  end
end
if not known then
  return {identity, newest(), ''}
end
local ids = {}
for index = first, #rows do
  ids[#ids + 1] = rows[index][1]
end
if #ids == 0 then
  return {identity, '', ''}
end
local contents, lines = redis.call('HMGET', LOG, unpack(ids)), {}
for index = 1, #ids do
  local pair = rows[first + index - 1][2]
  lines[index] = ids[index] .. '\t' .. pair[1] .. '\t' .. pair[2] .. '\t' .. (contents[index] or '')
end
return {identity, '', table.concat(lines, '\n')}
