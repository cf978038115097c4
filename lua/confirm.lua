-- confirm: makes held bookings of one event final, and brings late payments to a booking or to a refund.
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
-- ITEMS   user payment late replay request
-- USES    clock shard record event tickets budget prune expiry waitlist bounds details bucket rates caller payments
--         idempotency commit
-- STATUSES CONFIRMED BOOKING_NOT_FOUND HOLD_EXPIRED STILL_WAITING PAYMENT_REQUIRED PAYMENT_MISMATCH REFUND_DUE
--          EVENT_NOT_FOUND RATE_LIMITED
-- RETURNS one row for each item: status; number (wait in ms); record; first request id
--         then the id of the newest entry, if one was written
-- EVENTS  confirmed booked refund_due; left expired promoted by pruning and expiry before
-- An empty payment is not named. `late` is 1 if a payment for a hold that has ended has to come to its outcome.
local TICKETS_PER_ITEM = 100 -- expired in one step before a late payment
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
  for _, user, payment, late in items() do
    if payment ~= '' or late == '1' or has_payment(user) then payers[#payers + 1] = user end
  end
  load_payments(payers)
  if not acting then read_details() end
end

local function must_be_paid() -- then only who knows of the payment confirms: a shop, an organizer, a provider
  return not acting and (details.payment_url or '') ~= ''
end

local function is_live(booking)
  return booking and booking.status ~= EXPIRED_LETTER and booking.status ~= CANCELLED_LETTER
end

local function confirm_hold(user, mine)
  sale.held, sale.holding = sale.held - mine.quantity, sale.holding - 1
  sale.sold, sale.bookings = sale.sold + mine.quantity, sale.bookings + 1
  left_holds[#left_holds + 1] = user
  mine.status, mine.expires = CONFIRMED_LETTER, '0'
  emit('confirmed', user, mine)
  local payment = mine.payment and find_payment(user, mine.payment)
  if payment then
    payment.state = PAID_LETTER
    remember(user, payment)
  end
end

local function emit_refund(user, payment) -- the user's booking, which may be another one, stays as it is
  local mine, was_touched, status = known[user], touched[user], EXPIRED_LETTER
  if payment.state == RELEASED_LETTER then status = CANCELLED_LETTER end
  emit('refund_due', user, {status = status, quantity = payment.quantity, number = payment.number,
    created = payment.created, source = payment.source, expires = '0', payment = payment.id})
  known[user], touched[user] = mine, was_touched
end

-- A payment for a hold that has ended comes to a booking or to a refund, once and for all. For a booking the tickets
-- have to be free, nobody may wait who would be overtaken, and the user may have no other booking.
local function settle(user, payment)
  if payment.state == PAID_LETTER then return BOOKING_NOT_FOUND end -- its booking was cancelled later
  if payment.state == REFUND_LETTER then return REFUND_DUE end
  if is_live(known[user]) or not fits(payment.quantity) then
    emit_refund(user, payment)
    payment.state = REFUND_LETTER
    remember(user, payment)
    return REFUND_DUE
  end
  local booking = {quantity = payment.quantity, number = false, created = now_text, source = SALE_LETTER,
    payment = payment.id}
  take(user, booking, 'booked', 0)
  payment.state = PAID_LETTER
  remember(user, payment)
  return CONFIRMED, 0, booking.record
end

local function late_payment(user, id) -- returns the payment that comes late; nil if there is none
  if id ~= '' then return find_payment(user, id) end
  local mine = known[user] -- if no payment is named, it is that of the hold that has expired
  if not mine or mine.status ~= EXPIRED_LETTER then return nil end
  local own_id = mine.payment or event_id .. '-' .. mine.number
  return find_payment(user, own_id) or payment_for(mine, own_id)
end

local function confirm(user, id, late)
  expire_own(user)
  actor = acting or user
  local mine = known[user]
  if is_live(mine) and (id == '' or id == mine.payment) then
    if mine.status == WAITING_LETTER then return STILL_WAITING end
    if mine.status == HELD_LETTER then
      if must_be_paid() then return PAYMENT_REQUIRED end
      confirm_hold(user, mine)
    end
    return CONFIRMED, 0, mine.record
  end
  local payment = late == '1' and late_payment(user, id)
  if payment and must_be_paid() then return PAYMENT_REQUIRED end
  if payment then return settle(user, payment) end
  if not mine or mine.status == CANCELLED_LETTER then return BOOKING_NOT_FOUND end
  if id ~= '' and id ~= mine.payment then return PAYMENT_MISMATCH end
  return HOLD_EXPIRED
end

-- Expires the overdue holds that are left: a late payment must not come to a refund because of them. Returns false if
-- the item has to go to the next call.
local function free_tickets(late)
  while late == '1' and overdue_left do
    if is_spent() then return false end
    expire_holds(TICKETS_PER_ITEM)
  end
  return true
end

local function decide(user, payment, late, replay, request)
  local wait_ms = spend(acting or user)
  if wait_ms then return {RATE_LIMITED, wait_ms, '', ''} end
  if not sale then return {EVENT_NOT_FOUND, 0, '', ''} end
  local earlier = replay ~= '0' and earlier_answer(replay, request)
  if earlier then return earlier end
  return answer(replay, request, confirm(user, payment, late))
end

for i, user, payment, late, replay, request in items() do
  if is_unread(replay) or must_wait(i) or (sale and not free_tickets(late)) then
    rows[i] = send_again()
  else
    rows[i] = decide(user, payment, late, replay, request)
  end
end
if sale then
  commit()
  keep_payments()
end
flush()
rows[#rows + 1] = newest_entry
return rows
