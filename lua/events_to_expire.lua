-- events_to_expire: lists a shard's events with overdue holds, for one sweeper at a time.
-- KEYS[1] due       zset    of the shard: events by the end of their first hold
-- KEYS[2] sweeper   string  of the shard: the lease of the process that expires its holds
-- ARGV    me lease_ms most
-- USES    clock
-- RETURNS one row: event ids
read_clock()
local other = call('GET', sweeper)
-- A longer lease was taken while the clock was ahead.
if other and other ~= me and call('PTTL', sweeper) <= tonumber(lease_ms) then return {{}} end
call('DEL', sweeper) -- after a command that frees memory, a full Redis takes the next one: expired holds free more
call('SET', sweeper, me, 'PX', lease_ms)
return {call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, most)}
