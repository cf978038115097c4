-- shard: checks the shard's epoch, and finds the format in which its records are written.
-- NEEDS   epoch expected_epoch
-- The key holds "version epoch", or the epoch alone if the shard's records are written without a version. Code older
-- than versions finds another epoch than it expects, so it never takes a record it cannot read for a missing booking.
local function read_epoch() -- returns the prefix of the shard's records, or nil if the shard has another epoch
  local stored = redis.call('GET', epoch)
  if stored == RECORD_VERSION .. ' ' .. expected_epoch then return RECORD_VERSION .. ' ' end
  if stored == expected_epoch then return '' end
  return nil
end
