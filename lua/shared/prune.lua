-- prune: takes people off the waiting list who wait for more tickets than a smaller capacity leaves the event.
-- NEEDS   event tickets due
-- It goes through the list in steps. The event remembers where the next one begins, in `prune_from`, a number in join
-- order. Until the last one is done each verb does a step and leaves its items for the next call. So every answer is as
-- if all steps had been one: no group is seen on the list, served or passed over that no longer belongs there.
local PEOPLE_STEP = 1000

local function prune()
  if not sale.prune_from then return end
  call('ZSCORE', due, event_id) -- `commit` will write here: a wrongly typed key is an error now, not then
  local people = call('ZRANGEBYSCORE', waiting, whole(sale.prune_from), '+inf', 'LIMIT', 0, PEOPLE_STEP)
  load_bookings(people)
  for _, user in ipairs(people) do
    local booking = known[user]
    if not booking then error('the waiting list names people without a booking') end
    sale.prune_from = booking.number + 1
    if booking.status == WAITING_LETTER and booking.quantity > sale.capacity then
      leave_waitlist(user, booking)
      booking.status = CANCELLED_LETTER
      emit('left', user, booking)
    end
  end
  if #people < PEOPLE_STEP then
    sale.prune_from = nil
    promote()
  end
end
