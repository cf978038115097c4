-- The naive service's one script: a ticket for a user, at most one, and a stream entry, in one atomic step.
-- KEYS[1] event hash    KEYS[2] bookings hash    KEYS[3] stream    ARGV user, time
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return {'already_booked', 0} end
local left = tonumber(redis.call('HGET', KEYS[1], 'available') or 0)
if left < 1 then return {'sold_out', 0} end
redis.call('HINCRBY', KEYS[1], 'available', -1)
local number = redis.call('HINCRBY', KEYS[1], 'seq', 1)
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('XADD', KEYS[3], '*', 'seq', number, 'user', ARGV[1], 'kind', 'booked', 'at', ARGV[2])
return {'booked', number}
