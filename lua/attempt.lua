-- attempt: lets a password of an account be checked, or not. A check draws on the account's bucket until it is right.
-- KEYS[1] bucket    string  when it will be full again
-- KEYS[2] known     string  there if the client's address has logged in to the account lately: it is never refused
-- ARGV    interval_us burst
-- USES    clock rate
-- RETURNS one row: 0, or the milliseconds to wait; 1 if it drew on the bucket, else 0
local full_at, wait_ms = next_full(call('GET', bucket))
if not full_at then return {{call('EXISTS', known) == 1 and 0 or wait_ms, 0}} end
call('SET', bucket, whole(full_at), 'PX', math.ceil((full_at - now_us) / 1000))
return {{0, 1}}
