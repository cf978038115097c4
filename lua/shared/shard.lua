-- shard: whether it is the one that the caller knows, and the form in which its records are written.
-- NEEDS   epoch expected_epoch
-- The key holds "version epoch", and the epoch alone if the shard's records are to be written without a version. Code
-- that knows no versions finds another epoch than it expects, and so never takes a record that it cannot read for a
-- missing booking.
local function read_epoch() -- what the shard's records begin with, or nil if the shard has another epoch
  local stored = redis.call('GET', epoch)
  if stored == RECORD_VERSION .. ' ' .. expected_epoch then return RECORD_VERSION .. ' ' end
  if stored == expected_epoch then return '' end
  return nil
end
