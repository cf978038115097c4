-- take_token: takes one call out of a caller's bucket of an event, for a request that never reaches the event itself.
-- KEYS[1] rates_even hash   callers and when their bucket is full again, of even windows
-- KEYS[2] rates_odd  hash   the same of odd windows
-- ARGV    interval_us burst caller
-- USES    clock bucket rates
-- RETURNS one row: 0, or the milliseconds to wait
read_clock()
load_buckets({caller})
local wait_ms = spend(caller)
keep_buckets()
return {{wait_ms or 0}}
