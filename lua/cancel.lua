-- cancel: takes bookings of one event back, or places on its waiting list, and hands freed tickets on at once.
-- KEYS[1] event     hash    counters and rules
-- KEYS[2] bookings  hash    user -> record
-- KEYS[3] waiting   zset    users by the number of their booking, which is join order
-- KEYS[4] holds     zset    users by the end of their hold
-- KEYS[5] due       zset    of the shard: events by the end of their first hold
-- KEYS[6] changes   stream  of the shard: one entry a change
-- KEYS[7] epoch     string  of the shard
-- KEYS[8] rates_even hash   callers and when their bucket is full again, of even windows
-- KEYS[9] rates_odd  hash   the same of odd windows
-- KEYS[*] answers   string  kept under idempotency keys, named by the items
-- ARGV    founded event_id interval_us burst
-- ITEMS   user caller replay request
-- USES    clock sale promote sweep rate rates admit commit
-- STATUSES CANCELLED LEFT BOOKING_NOT_FOUND
-- RETURNS one row an item: status; number (wait in ms); record; first request id
-- EVENTS  cancelled left promoted; expired by the sweep
local owners, callers, rows = {}, {}, {}
for i, user, caller in items() do owners[i], callers[i] = user, caller end
if sale then call_up(owners) end
load_buckets(callers)

local function cancel(user)
  local mine = known[user]
  if not mine or mine.status == 'x' or mine.status == 'k' then return BOOKING_NOT_FOUND end
  local status, kind = CANCELLED, 'cancelled'
  if mine.status == 'w' then
    status, kind = LEFT, 'left'
    leave_queue(user, mine)
  else
    give_back(user, mine)
  end
  mine.status, mine.expires = 'k', '0'
  emit(kind, user, mine)
  promote() -- also when the head has left: a smaller group behind it may fit
  return status, 0, mine.record
end

for i, user, caller, replay, request in items() do
  rows[i] = admit(caller, replay, request) or decide(replay, request, cancel(user))
end
if sale then commit() end
settle()
return rows
