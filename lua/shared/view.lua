-- view: an event as it stands, for an answer.
-- NEEDS   event, after `commit`
local function view(status)
  local stored = call('HMGET', event, 'name', 'created_at')
  return {status, stored[1], sale.capacity, sale.max_per_user, sale.hold_ms, sale.waitlist_limit or '',
    sale.opens_at or '', sale.closes_at or '', sale.paused, sale.available, sale.held, sale.sold, sale.bookings,
    sale.holding, waiting_count, sale.seq, tonumber(stored[2]), now}
end

local function rules(name) -- as an entry of the stream has them; the name last, since it may hold anything
  local function told(number)
    if number then return whole(number) end
    return '-'
  end
  return sale.capacity .. ' ' .. sale.max_per_user .. ' ' .. sale.hold_ms .. ' ' .. told(sale.waitlist_limit) .. ' ' ..
    told(sale.opens_at) .. ' ' .. told(sale.closes_at) .. ' ' .. sale.paused .. ' ' .. name
end
