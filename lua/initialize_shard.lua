-- initialize_shard: gives a shard its epoch, if the shard is empty and is not being restored.
-- KEYS[1] changes   stream  of the shard: one entry a change
-- KEYS[2] restoring string  of the shard: the lease of the process that restores it
-- KEYS[3] epoch     string  of the shard
-- ARGV    new_epoch
-- RETURNS one row: 1
if redis.call('EXISTS', changes, restoring) == 0 then
  redis.call('SET', epoch, RECORD_VERSION .. ' ' .. new_epoch, 'NX')
end
return {{1}}
