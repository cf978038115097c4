-- rates: the token buckets of an event's callers, in two hashes that alternate. A hash is written in one window, and
-- read in that window and the next. A window is the time in which an empty bucket fills, so older buckets are full.
-- NEEDS   clock bucket rates_even rates_odd interval_us burst (0 us: no limit)
local LATE_MS = 2 -- how much later than needed a hash may expire, because another call rounded the time
local WRITTEN_BUCKETS_MAX = 4000 -- arguments in one command
local span_us, window, current, previous
local buckets, spent = {}, {}

local function load_buckets(callers)
  read_limit()
  if interval_us == 0 or #callers == 0 then return end
  span_us = math.max(1, interval_us * burst)
  window = math.floor(now_us / span_us)
  current, previous = rates_even, rates_odd
  if window % 2 == 1 then current, previous = rates_odd, rates_even end
  local newer, older = call('HMGET', current, unpack(callers)), call('HMGET', previous, unpack(callers))
  for i, caller in ipairs(callers) do
    buckets[caller] = math.max(possible(newer[i]), possible(older[i])) -- `current` may not have expired yet
  end
end

local function spend(caller) -- returns nil, or the milliseconds to wait
  if interval_us == 0 then return nil end
  local full_at, wait_ms = next_full(buckets[caller])
  if not full_at then return wait_ms end
  buckets[caller] = full_at
  spent[#spent + 1], spent[#spent + 2] = caller, whole(full_at)
  return nil
end

local function keep_buckets()
  if #spent == 0 then return end
  -- A key exists until the end of its last millisecond. The hash's next window begins in it, and has to begin empty.
  local left_ms, needed_ms = call('PTTL', current), math.ceil(((window + 2) * span_us - now_us) / 1000)
  if left_ms >= 0 and left_ms * 1000 < span_us / 2 then call('UNLINK', current) end
  for first = 1, #spent, WRITTEN_BUCKETS_MAX do
    call('HSET', current, unpack(spent, first, math.min(first + WRITTEN_BUCKETS_MAX - 1, #spent)))
  end
  -- Only if needed: each PEXPIRE is also an entry in the append-only file.
  if left_ms < needed_ms or left_ms > needed_ms + LATE_MS then call('PEXPIRE', current, needed_ms) end
end
