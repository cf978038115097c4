-- begin_password_check: takes a token from an account's bucket before a password is checked, or refuses the check.
-- KEYS[1] bucket    string  the time at which it will be full again
-- KEYS[2] known     string  exists if the address has logged in to the account recently: then no check is refused
-- ARGV    interval_us burst
-- USES    clock bucket
-- RETURNS one row: 0, or the milliseconds to wait; 1 if it took a token, else 0
read_clock()
read_limit()
local full_at, wait_ms = next_full(call('GET', bucket))
if not full_at then return {{call('EXISTS', known) == 1 and 0 or wait_ms, 0}} end
call('DEL', bucket) -- after a command that frees memory, a full Redis takes the next one: people can log in to cancel
call('SET', bucket, whole(full_at), 'PX', math.ceil((full_at - now_us) / 1000))
return {{0, 1}}
