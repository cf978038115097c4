-- cancel: cancels bookings of one event, or places on its waiting list, and promotes with the freed tickets at once.
-- KEYS[1] event     hash    counters and rules
-- KEYS[2] bookings  hash    user -> record
-- KEYS[3] waiting   zset    users by the number of their booking, which is join order
-- KEYS[4] holds     zset    users by the end of their hold
-- KEYS[5] due       zset    of the shard: events by the end of their first hold
-- KEYS[6] changes   stream  of the shard: one entry a change
-- KEYS[7] epoch     string  of the shard
-- KEYS[8] rates_even hash   caller -> the time at which the bucket is full again, in even windows
-- KEYS[9] rates_odd  hash   the same in odd windows
-- KEYS[*] answers   list    a caller's first answers to idempotency keys; the items have their indexes
-- ARGV    expected_epoch event_id interval_us burst
-- ITEMS   user caller reason replay request
-- USES    clock shard record event tickets budget prune expiry bucket rates idempotency commit
-- STATUSES CANCELLED LEFT BOOKING_NOT_FOUND EVENT_NOT_FOUND RATE_LIMITED
-- RETURNS one row for each item: status; number (wait in ms); record; first request id
--         then the id of the newest entry, if one was written
-- EVENTS  cancelled left promoted; expired by the expiry before
local owners, callers, rows = {}, {}, {}

local failure = open_event()
if failure then return failure end
for i, user, caller in items() do owners[i], callers[i] = user, caller end
load_answers()
load_buckets(callers)
if sale then
  prune()
  expire_first()
  load_bookings(owners)
end

local function cancel(user, caller, reason)
  expire_own(user)
  local mine = known[user]
  if not mine or mine.status == EXPIRED_LETTER or mine.status == CANCELLED_LETTER then return BOOKING_NOT_FOUND end
  local status, kind = CANCELLED, 'cancelled'
  if mine.status == WAITING_LETTER then
    status, kind = LEFT, 'left'
    leave_waitlist(user, mine)
  else
    give_back(user, mine)
  end
  mine.status, mine.expires, actor = CANCELLED_LETTER, '0', caller
  emit(kind, user, mine, reason ~= '' and reason)
  promote() -- also if the head has left: a smaller group behind it may fit
  return status, 0, mine.record
end

local function decide(user, caller, reason, replay, request)
  local wait_ms = spend(caller)
  if wait_ms then return {RATE_LIMITED, wait_ms, '', ''} end
  if not sale then return {EVENT_NOT_FOUND, 0, '', ''} end
  local earlier = replay ~= '0' and earlier_answer(replay, request)
  if earlier then return earlier end
  return answer(replay, request, cancel(user, caller, reason))
end

for i, user, caller, reason, replay, request in items() do
  rows[i] = (is_unread(replay) or must_wait(i)) and send_again() or decide(user, caller, reason, replay, request)
end
if sale then commit() end
flush()
rows[#rows + 1] = newest_entry
return rows
