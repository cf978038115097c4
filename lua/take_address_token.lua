-- take_address_token: takes a token from a client address's bucket, which belongs to no event.
-- KEYS[1] bucket    string  the time at which it will be full again
-- ARGV    interval_us burst
-- USES    clock bucket
-- RETURNS one row: 0, or the milliseconds to wait
read_clock()
read_limit()
local full_at, wait_ms = next_full(call('GET', bucket))
if not full_at then return {{wait_ms}} end
call('DEL', bucket) -- after a command that frees memory, a full Redis takes the next one: people can log in to cancel
call('SET', bucket, whole(full_at), 'PX', math.ceil((full_at - now_us) / 1000))
return {{0}}
