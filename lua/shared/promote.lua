-- promote: tickets change hands: taken, given back, handed to the head of the waiting list.
-- NEEDS   sale
local function take(user, booking, kind)
  sale.available = sale.available - booking.quantity
  if sale.hold_ms > 0 then
    booking.status, booking.expires = 'h', whole(now + sale.hold_ms)
    sale.held, sale.holding = sale.held + booking.quantity, sale.holding + 1
  else
    booking.status, booking.expires = 'c', '0'
    sale.sold, sale.bookings = sale.sold + booking.quantity, sale.bookings + 1
  end
  emit(kind or (sale.hold_ms > 0 and 'held' or 'booked'), user, booking)
end

local function give_back(user, booking)
  sale.available = sale.available + booking.quantity
  if booking.status == 'h' then
    sale.held, sale.holding = sale.held - booking.quantity, sale.holding - 1
    left_holds[#left_holds + 1] = user
  else
    sale.sold, sale.bookings = sale.sold - booking.quantity, sale.bookings - 1
  end
end

local function leave_queue(user, booking)
  queue_length, sale.backlog = queue_length - 1, sale.backlog - booking.quantity
  left_queue[#left_queue + 1] = user
end

local heads, head, fetched = {}, 1, 0 -- the list as it was before this call, read from its head in pieces
local newcomers = {} -- who joined in this call, behind all of those; `commit` will put them on the list

local function promote() -- strictly in join order: whoever does not fit keeps everyone behind waiting
  while queue_length > 0 do
    if head > #heads then
      heads, head = call('ZRANGE', waiting, fetched, fetched + 99), 1
      fetched = fetched + #heads
      if #heads == 0 then heads, newcomers = newcomers, {} end
      if #heads == 0 then error('the waiting list names people without a booking') end
      load(heads)
    end
    local user = heads[head]
    local booking = known[user]
    if booking and booking.status == 'w' then
      if booking.quantity > sale.available then return end
      leave_queue(user, booking)
      booking.source = 'w'
      take(user, booking, 'promoted')
    end
    head = head + 1
  end
end
