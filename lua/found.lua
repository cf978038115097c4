-- found: gives a shard its epoch, if nothing of it was ever there, and nobody is about to bring it back.
-- KEYS[1] changes   stream  of the shard: one entry a change
-- KEYS[2] restoring string  of the shard: who restores it
-- KEYS[3] epoch     string  of the shard
-- ARGV    founded
-- RETURNS one row: 1
if redis.call('EXISTS', changes, restoring) == 0 then redis.call('SET', epoch, founded, 'NX') end
return {{1}}
