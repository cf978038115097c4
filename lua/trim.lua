-- trim: lets go of a stream's entries up to a cursor that is durable elsewhere, and leaves word of how far that is. It
-- does so only where the cursor's entry is: in an old copy that came back since that was read, the word would be false.
-- KEYS[1] changes   stream  of the shard: one entry a change
-- KEYS[2] mark      string  of the shard: the last cursor that was let go up to
-- KEYS[3] epoch     string  of the shard
-- ARGV    founded cursor
-- RETURNS one row: 1, or 0 where nothing was: let go of already, of another founding, or an old copy
if redis.call('GET', epoch) ~= founded then return {{0}} end
if #redis.call('XRANGE', changes, cursor, cursor) == 0 then return {{0}} end
local ms, number = string.match(cursor, '^(%d+)-(%d+)$')
redis.call('XTRIM', changes, 'MINID', string.format('%s-%.0f', ms, number + 1))
redis.call('SET', mark, cursor)
return {{1}}
