-- version_records: has a shard's later records begin with this version of their format. Records that are there stay.
-- KEYS[1] epoch     string  of the shard
-- ARGV    expected_epoch
-- USES    shard
-- RETURNS one row: 1 if the shard has this version now, and 1 if it had another before; 0 if it has another epoch
local prefix = read_epoch()
if not prefix then return {{0, 0}} end
if prefix ~= '' then return {{1, 0}} end
redis.call('SET', epoch, RECORD_VERSION .. ' ' .. expected_epoch)
return {{1, 1}}
