-- take_token: takes a token from a caller's bucket of an event, for a request that does not reach the event itself.
-- KEYS[1] rates_even hash   caller -> the time at which the bucket is full again, in even windows
-- KEYS[2] rates_odd  hash   the same in odd windows
-- ARGV    interval_us burst caller
-- USES    clock bucket rates
-- RETURNS one row: 0, or the milliseconds to wait
read_clock()
load_buckets({caller})
local wait_ms = spend(caller)
keep_buckets()
return {{wait_ms or 0}}
