-- waitlist: whether a new buyer gets tickets, or a place on the waiting list.
-- NEEDS   event tickets
local function fits(quantity)
  return waiting_count == 0 and quantity <= sale.available
end

local function has_place(quantity)
  return not sale.waitlist_limit or sale.backlog + quantity <= sale.waitlist_limit
end

local function place(booking) -- users who left in this call were ahead of all who wait: promotion begins at the head
  return (booking.rank or call('ZCOUNT', waiting, '-inf', booking.number)) - #left_waiting
end
