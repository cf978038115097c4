-- due: names a shard's events with holds past their time, to whoever sweeps it; one sweeper at a time.
-- KEYS[1] due       zset    of the shard: events by the end of their first hold
-- KEYS[2] sweeper   string  of the shard: who sweeps it
-- ARGV    me lease_ms most
-- USES    clock
-- RETURNS one row: event ids
local other = call('GET', sweeper)
if other and other ~= me then return {{}} end
call('SET', sweeper, me, 'PX', lease_ms)
return {call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, most)}
