-- line: what a buyer who comes now finds: tickets, or a place behind those who wait.
-- NEEDS   sale promote
local function fits(quantity)
  return queue_length == 0 and quantity <= sale.available
end

local function has_place(quantity)
  return not sale.waitlist_limit or sale.backlog + quantity <= sale.waitlist_limit
end

local function place(booking) -- who left in this call stood ahead of all who wait: the sweep promotes from the head
  return (booking.rank or call('ZCOUNT', waiting, '-inf', booking.number)) - #left_queue
end
