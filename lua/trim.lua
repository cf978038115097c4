-- trim: trims a stream up to a cursor that is durable in SQL, and records that cursor. It does so only if the stream
-- has the cursor's entry. An old copy of Redis lacks it, and the record would be false there.
-- KEYS[1] changes    stream  of the shard: one entry a change
-- KEYS[2] trimmed_to string  of the shard: the last cursor that the stream was trimmed to
-- KEYS[3] epoch      string  of the shard
-- ARGV    expected_epoch cursor
-- USES    shard
-- RETURNS one row: 1, or 0 if nothing was trimmed: already trimmed, another epoch, or an old copy
if not read_epoch() then return {{0}} end
if #redis.call('XRANGE', changes, cursor, cursor) == 0 then return {{0}} end
local ms, number = string.match(cursor, '^(%d+)-(%d+)$')
redis.call('XTRIM', changes, 'MINID', string.format('%s-%.0f', ms, number + 1))
redis.call('SET', trimmed_to, cursor)
return {{1}}
