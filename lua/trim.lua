-- trim: trims a stream up to a cursor that is durable in SQL, and records that cursor. It does so only if the stream
-- has the cursor's entry. An old copy of Redis lacks it, and the record would be false there.
-- KEYS[1] changes    stream  of the shard: one entry a change
-- KEYS[2] trimmed_to string  of the shard: the last cursor that the stream was trimmed to
-- KEYS[3] epoch      string  of the shard
-- ARGV    expected_epoch cursor
-- USES    shard
-- RETURNS one row: 1, 0 if nothing was trimmed (already trimmed, another epoch, or an old copy), or 2 if
-- the call has to be sent again because it has trimmed as much as one call may
local ENTRIES_MAX = 50000 -- about 3 ms
if not read_epoch() then return {{0}} end
if #redis.call('XRANGE', changes, cursor, cursor) == 0 then return {{0}} end
local ms, number = string.match(cursor, '^(%d+)-(%d+)$')
local first_kept = string.format('%s-%.0f', ms, number + 1)
redis.call('SET', trimmed_to, cursor) -- first: an entry that is gone is never beyond it
-- Only an approximate XTRIM takes a limit. It leaves the entries of its last node, some hundred, to the exact one.
local trimmed = redis.call('XTRIM', changes, 'MINID', '~', first_kept, 'LIMIT', ENTRIES_MAX)
if trimmed > ENTRIES_MAX / 2 then return {{2}} end
redis.call('XTRIM', changes, 'MINID', first_kept)
return {{1}}
