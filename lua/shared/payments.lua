-- payments: what is known of the payments that users have begun. A provider may tell of one long after its hold has
-- ended, or tell of it again. So the last ones of each user are remembered for as long as the event exists.
-- NEEDS   event payments
-- A user's text has one line for each, in the order in which they were begun: "id state number quantity created
-- source", of the payment and of its hold (booking/inventory/records.py).
local PAYMENTS_MAX = 32 -- of a user
local begun, has_news = {}, {} -- by user: their payments; users whose payments have changed

local function load_payments(users)
  for first = 1, #users, READ_MAX do
    local texts = call('HMGET', payments, unpack(users, first, math.min(first + READ_MAX - 1, #users)))
    for i, text in ipairs(texts) do
      local mine = {}
      for id, state, number, quantity, created, source in
        string.gmatch(text or '', '(%S+) (%a) (%d+) (%d+) (%d+) (%a)') do
        mine[#mine + 1] = {id = id, state = state, number = number, quantity = tonumber(quantity), created = created,
          source = source}
      end
      begun[users[first + i - 1]] = mine
    end
  end
end

local function has_payment(user) -- whether the user's booking has one
  return known[user] and known[user].payment
end

local function find_payment(user, id) -- returns nil if there is none, or if it is not remembered any more
  local mine = begun[user] or {}
  for i = #mine, 1, -1 do
    if mine[i].id == id then return mine[i] end
  end
  return nil
end

local function payment_for(booking, id) -- a new payment for a hold
  return {id = id, state = OPEN_LETTER, number = booking.number, quantity = booking.quantity,
    created = booking.created, source = booking.source}
end

local function remember(user, payment) -- a new one, or one that has changed
  local mine, is_new = begun[user], true
  for _, one in ipairs(mine) do is_new = is_new and one ~= payment end
  if is_new then mine[#mine + 1] = payment end
  if #mine > PAYMENTS_MAX then table.remove(mine, 1) end
  has_news[user] = true
end

local function keep_payments() -- after `commit`, because these writes need memory
  for user in pairs(has_news) do
    local lines = {}
    for i, payment in ipairs(begun[user]) do
      lines[i] = payment.id .. ' ' .. payment.state .. ' ' .. payment.number .. ' ' .. whole(payment.quantity) .. ' ' ..
        payment.created .. ' ' .. payment.source
    end
    call('HSET', payments, user, table.concat(lines, '\n'))
  end
end
