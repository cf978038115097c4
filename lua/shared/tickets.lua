-- tickets: takes them, gives them back, and promotes the head of the waiting list.
-- NEEDS   event
local function take(user, booking, kind, hold_ms) -- for a hold of this length; 0: they are booked at once
  sale.available = sale.available - booking.quantity
  if hold_ms > 0 then
    booking.status, booking.expires = HELD_LETTER, whole(now + hold_ms)
    sale.held, sale.holding = sale.held + booking.quantity, sale.holding + 1
  else
    booking.status, booking.expires = CONFIRMED_LETTER, '0'
    sale.sold, sale.bookings = sale.sold + booking.quantity, sale.bookings + 1
  end
  emit(kind, user, booking)
end

local function release(booking, quantity) -- frees tickets of a held or confirmed booking
  sale.available = sale.available + quantity
  if booking.status == HELD_LETTER then
    sale.held = sale.held - quantity
  else
    sale.sold = sale.sold - quantity
  end
end

local function give_back(user, booking) -- all of its tickets
  release(booking, booking.quantity)
  if booking.status == HELD_LETTER then
    sale.holding = sale.holding - 1
    left_holds[#left_holds + 1] = user
  else
    sale.bookings = sale.bookings - 1
  end
end

local function leave_waitlist(user, booking)
  waiting_count, sale.backlog = waiting_count - 1, sale.backlog - booking.quantity
  left_waiting[#left_waiting + 1] = user
end

local heads, head, fetched = {}, 1, 0 -- the list as it was before this call, read from its head in pages
local joined = {} -- users who joined in this call, behind all others; `commit` puts them on the list

local function promote() -- strictly in join order: if the head does not fit, all behind it keep waiting
  while waiting_count > 0 do
    if head > #heads then
      heads, head = call('ZRANGE', waiting, fetched, fetched + 99), 1
      fetched = fetched + #heads
      if #heads == 0 then heads, joined = joined, {} end
      if #heads == 0 then error('the waiting list has a user without a booking') end
      load_bookings(heads)
    end
    local user = heads[head]
    local booking = known[user]
    if booking and booking.status == WAITING_LETTER then
      if booking.quantity > sale.available then return end
      leave_waitlist(user, booking)
      booking.source = WAITLIST_LETTER
      take(user, booking, 'promoted', sale.offer_ms or sale.hold_ms)
    end
    head = head + 1
  end
end
