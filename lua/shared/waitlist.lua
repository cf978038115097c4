-- waitlist: what a buyer who comes now finds: tickets, or a place behind those who wait.
-- NEEDS   event tickets
local function fits(quantity)
  return waiting_count == 0 and quantity <= sale.available
end

local function has_place(quantity)
  return not sale.waitlist_limit or sale.backlog + quantity <= sale.waitlist_limit
end

local function place(booking) -- those who left in this call stood ahead of all who wait: promotion begins at the head
  return (booking.rank or call('ZCOUNT', waiting, '-inf', booking.number)) - #left_waiting
end
