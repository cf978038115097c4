-- trim: lets go of a stream's entries up to a cursor that is durable elsewhere, and leaves word of how far that is.
-- KEYS[1] changes   stream  of the shard: one entry a change
-- KEYS[2] mark      string  of the shard: the last cursor that was let go up to
-- ARGV    ms number
-- RETURNS one row: 1, or 0 where somebody has let go of more
local known_ms, known_number = string.match(redis.call('GET', mark) or '0-0', '^(%d+)-(%d+)$')
ms, number, known_ms, known_number = tonumber(ms), tonumber(number), tonumber(known_ms), tonumber(known_number)
if ms < known_ms or (ms == known_ms and number < known_number) then return {{0}} end
local function id(after) return string.format('%.0f-%.0f', ms, number + after) end
redis.call('XTRIM', changes, 'MINID', id(1))
redis.call('SET', mark, id(0))
return {{1}}
