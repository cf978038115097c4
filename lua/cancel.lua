-- cancel: cancels bookings of one event or places on its waiting list, or gives back a part of their tickets, and
-- promotes with the freed tickets at once.
-- KEYS[1] event     hash    counters and rules
-- KEYS[2] bookings  hash    user -> record
-- KEYS[3] waiting   zset    users by the number of their booking, which is join order
-- KEYS[4] holds     zset    users by the end of their hold
-- KEYS[5] due       zset    of the shard: events by the end of their first hold
-- KEYS[6] changes   stream  of the shard: one entry a change
-- KEYS[7] epoch     string  of the shard
-- KEYS[8] rates_even hash   caller -> the time at which the bucket is full again, in even windows
-- KEYS[9] rates_odd  hash   the same in odd windows
-- KEYS[10] payments hash    user -> their payments
-- KEYS[*] answers   list    a caller's first answers to idempotency keys; the items have their indexes
-- ARGV    expected_epoch event_id interval_us burst caller
-- ITEMS   user quantity reason payment replay request
-- USES    clock shard record event tickets budget prune expiry bucket rates caller payments idempotency commit
-- STATUSES CANCELLED LEFT REDUCED QUANTITY_OVER_LIMIT BOOKING_NOT_FOUND EVENT_NOT_FOUND RATE_LIMITED
-- RETURNS one row for each item: status; number (position, wait in ms); record; first request id
--         then the id of the newest entry, if one was written
-- EVENTS  cancelled left reduced promoted; expired by the expiry before
-- An empty quantity means all tickets of the booking. With a payment only the hold that it was begun for is released.
local owners, payers, rows = {}, {}, {}

local failure = open_event()
if failure then return failure end
for _, user in items() do owners[#owners + 1] = user end
load_answers()
load_callers(owners)
if sale then
  prune()
  expire_first()
  load_bookings(owners)
  for _, user in items() do
    if has_payment(user) then payers[#payers + 1] = user end
  end
  load_payments(payers)
end

local function open_payment(user, booking) -- the one that was begun for it, if it has not come to an outcome
  local payment = booking.payment and find_payment(user, booking.payment)
  if payment and payment.state == OPEN_LETTER then return payment end
  return nil
end

local function reduce(user, booking, quantity, reason) -- a part: the rest keeps its number, status and place
  booking.quantity = booking.quantity - quantity
  if booking.status == WAITING_LETTER then
    sale.backlog = sale.backlog - quantity
  else
    release(booking, quantity)
  end
  emit('reduced', user, booking, reason)
  add_field('q', whole(quantity))
  local payment = open_payment(user, booking)
  if payment then
    payment.quantity = booking.quantity
    remember(user, payment)
  end
end

local function position(booking) -- 0 unless it waits; users who left in this call may have been ahead or behind
  if booking.status ~= WAITING_LETTER then return 0 end
  local ahead = call('ZCOUNT', waiting, '-inf', booking.number)
  for _, user in ipairs(left_waiting) do
    if tonumber(known[user].number) < tonumber(booking.number) then ahead = ahead - 1 end
  end
  return ahead
end

local function cancel(user, quantity, reason, id)
  expire_own(user)
  actor = acting or user
  local mine = known[user]
  if not mine or mine.status == EXPIRED_LETTER or mine.status == CANCELLED_LETTER then return BOOKING_NOT_FOUND end
  if id ~= '' and (mine.status ~= HELD_LETTER or mine.payment ~= id) then return BOOKING_NOT_FOUND end
  local returned = mine.quantity
  if quantity ~= '' then returned = tonumber(quantity) or 0 end
  if not (returned >= 1 and returned % 1 == 0) then return QUANTITY_OVER_LIMIT end
  if returned < mine.quantity then
    reduce(user, mine, returned, reason ~= '' and reason)
    promote() -- also if it waits: at the head, a smaller group may fit
    return REDUCED, position(mine), mine.record
  end
  local status, kind = CANCELLED, 'cancelled'
  if mine.status == WAITING_LETTER then
    status, kind = LEFT, 'left'
    leave_waitlist(user, mine)
  else
    give_back(user, mine)
  end
  local payment = open_payment(user, mine)
  if payment then
    payment.state = RELEASED_LETTER
    remember(user, payment)
  end
  mine.status, mine.expires = CANCELLED_LETTER, '0'
  emit(kind, user, mine, reason ~= '' and reason)
  promote() -- also if the head has left: a smaller group behind it may fit
  return status, 0, mine.record
end

local function decide(user, quantity, reason, payment, replay, request)
  local wait_ms = spend(acting or user)
  if wait_ms then return {RATE_LIMITED, wait_ms, '', ''} end
  if not sale then return {EVENT_NOT_FOUND, 0, '', ''} end
  local earlier = replay ~= '0' and earlier_answer(replay, request)
  if earlier then return earlier end
  return answer(replay, request, cancel(user, quantity, reason, payment))
end

for i, user, quantity, reason, payment, replay, request in items() do
  if is_unread(replay) or must_wait(i) then
    rows[i] = send_again()
  else
    rows[i] = decide(user, quantity, reason, payment, replay, request)
  end
end
if sale then
  commit()
  keep_payments()
end
flush()
rows[#rows + 1] = newest_entry
return rows
