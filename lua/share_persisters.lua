-- share_persisters: registers a persister for a shard, and lists those that share the shard's work with it.
-- KEYS[1] persisters zset    of the shard: persister -> until when it counts as alive
-- ARGV    me lease_ms
-- USES    clock
-- RETURNS one row: the persisters that are alive, in order of their ids
read_clock()
call('ZREMRANGEBYSCORE', persisters, '-inf', now)
local ends = whole(now + lease_ms)
call('ZREMRANGEBYSCORE', persisters, '(' .. ends, '+inf') -- written while the clock was ahead
call('ZADD', persisters, ends, me)
call('PEXPIRE', persisters, lease_ms)
local alive = call('ZRANGE', persisters, 0, -1)
table.sort(alive)
return {alive}
