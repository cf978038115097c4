-- lag: tells how much of a shard's stream is not in SQL yet, and whether the shard is the one that was founded.
-- KEYS[1] changes   stream  of the shard: one entry a change
-- KEYS[2] epoch     string  of the shard
-- ARGV    founded
-- USES    clock
-- RETURNS one row: entries; milliseconds since the oldest was written; 1 if the shard is whole; the newest's id
local oldest = call('XRANGE', changes, '-', '+', 'COUNT', 1)[1]
local waited = oldest and math.max(0, now - tonumber(string.match(oldest[1], '^(%d+)'))) or 0
local newest = call('XREVRANGE', changes, '+', '-', 'COUNT', 1)[1]
return {{call('XLEN', changes), waited, call('GET', epoch) == founded and 1 or 0, newest and newest[1] or ''}}
