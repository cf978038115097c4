-- begin_term: begins another term of a shard, in which this server is the primary (see booking/domain/epochs.py).
-- KEYS[1] epoch     string  of the shard
-- ARGV    expected_epoch new_epoch
-- USES    shard
-- RETURNS one row: 1 if the shard has the new epoch now, else 0
local prefix = read_epoch()
if prefix then
  redis.call('DEL', epoch) -- first, because a full Redis refuses SET as the first write
  redis.call('SET', epoch, prefix .. new_epoch)
  return {{1}}
end
local stored = redis.call('GET', epoch) or ''
return {{(stored == new_epoch or stored == RECORD_VERSION .. ' ' .. new_epoch) and 1 or 0}}
