-- changed_events: finds the events of a shard whose `seq` is no longer the one that the caller has seen.
-- KEYS[1] epoch     string  of the shard
-- KEYS[*] events    hash    counters and rules, in the order of the items
-- ARGV    expected_epoch
-- ITEMS   seq
-- USES    shard
-- RETURNS one row: the positions of these events among the items, from 1
if not read_epoch() then
  return redis.error_reply('FENCED the shard has another epoch than the service expects')
end
local changed = {}
for i, seq in items() do
  local watched = KEYS[FIXED_KEYS + i]
  if redis.call('HGET', watched, 'seq') ~= seq then changed[#changed + 1] = i end
end
return {changed}
