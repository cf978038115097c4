-- claim_event_id: assigns one of the event ids of a cluster's shard, unless it or a higher one was assigned before.
-- KEYS[1] last_event string of the shard: the highest id that was assigned
-- ARGV    wanted
-- RETURNS one row: the highest id that was assigned; 1 if this call assigned it, else 0
local last = tonumber(redis.call('GET', last_event) or '0')
if last >= tonumber(wanted) then return {{last, 0}} end
redis.call('SET', last_event, wanted)
return {{tonumber(wanted), 1}}
