-- lag: reports how much of a shard's stream is not in SQL yet, and whether the shard has the expected epoch.
-- KEYS[1] changes   stream  of the shard: one entry a change
-- KEYS[2] epoch     string  of the shard
-- ARGV    expected_epoch
-- USES    clock shard
-- RETURNS one row: entries; milliseconds since the oldest was written; 1 if the epoch is as expected; the newest's id;
--         the oldest's id; what acknowledged changes are lost: "after upto", or nothing
read_clock()
local oldest = call('XRANGE', changes, '-', '+', 'COUNT', 1)[1]
local newest = call('XREVRANGE', changes, '+', '-', 'COUNT', 1)[1]
local waited_ms, newest_id, oldest_id, is_whole = 0, '', '', 0
if oldest then
  oldest_id = oldest[1]
  -- After the clock was ahead, ids stay ahead until it has caught up. The time in the entry's text does not.
  local at = tonumber(string.match(oldest_id, '^%d+'))
  if at > now then at = tonumber(string.match(oldest[2][2], '^%d+ %d+ %S+ (%d+)') or '') or now end
  waited_ms = math.max(0, now - at)
end
if newest then newest_id = newest[1] end
if read_epoch() then is_whole = 1 end
local lost = string.match(call('GET', epoch) or '', '^lost (.+)$') or ''
return {{call('XLEN', changes), waited_ms, is_whole, newest_id, oldest_id, lost}}
