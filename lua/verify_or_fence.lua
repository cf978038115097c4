-- verify_or_fence: checks whether a shard has every change that SQL has. If it has not, the shard is an old copy: it
-- lacks the cursor's entry and was not trimmed up to it. Then the epoch is deleted, so that nothing is sold from it.
-- KEYS[1] changes    stream  of the shard: one entry a change
-- KEYS[2] trimmed_to string  of the shard: the last cursor that the stream was trimmed to
-- KEYS[3] epoch      string  of the shard
-- ARGV    expected_epoch cursor
-- USES    shard
-- RETURNS one row: 1 if the shard is whole, else 0; 1 if it had the expected epoch; the cursor it was trimmed to
local trimmed = redis.call('GET', trimmed_to) or '0-0'
if not read_epoch() then return {{0, 0, trimmed}} end
local function parts(id) return tonumber(string.match(id, '^%d+')), tonumber(string.match(id, '%d+$')) end
local trimmed_ms, trimmed_number = parts(trimmed)
local ms, number = parts(cursor)
if trimmed_ms > ms or (trimmed_ms == ms and trimmed_number >= number) then return {{1, 1, trimmed}} end
if #redis.call('XRANGE', changes, cursor, cursor) == 1 then return {{1, 1, trimmed}} end
redis.call('DEL', epoch)
return {{0, 1, trimmed}}
