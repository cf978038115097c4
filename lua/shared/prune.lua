-- prune: removes users from the waiting list who wait for more tickets than a reduced capacity allows.
-- NEEDS   event tickets due
-- It goes through the list in steps. The event's `prune_from`, a number in join order, is where the next step begins.
-- Until the last step is done, each call does one step and leaves its items to the next one. So every answer is as
-- if there had been one step: no group that has to leave is shown on the list, promoted or skipped.
local USERS_STEP = 1000

local function prune()
  if not sale.prune_from then return end
  prune_actor = prune_actor or call('HGET', event, 'prune_actor') or ''
  actor = prune_actor
  call('ZSCORE', due, event_id) -- `commit` writes this key: a wrong type has to raise an error now, before any write
  local people = call('ZRANGEBYSCORE', waiting, whole(sale.prune_from), '+inf', 'LIMIT', 0, USERS_STEP)
  load_bookings(people)
  for _, user in ipairs(people) do
    local booking = known[user]
    if not booking then error('the waiting list has a user without a booking') end
    sale.prune_from = booking.number + 1
    if booking.status == WAITING_LETTER and booking.quantity > sale.capacity then
      leave_waitlist(user, booking)
      booking.status = CANCELLED_LETTER
      emit('left', user, booking)
    end
  end
  if #people < USERS_STEP then
    sale.prune_from = nil
    promote()
  end
end
