-- view: the event's current state, for an answer.
-- NEEDS   event expected_epoch, after `commit`
local function view(status)
  local stored = call('HMGET', event, 'name', 'created_at', 'rules_version', 'organizer_id',
    'details')
  return {status, stored[1], sale.capacity, sale.max_per_user, sale.hold_ms, sale.waitlist_limit or '',
    sale.opens_at or '', sale.closes_at or '', sale.paused, sale.available, sale.held, sale.sold, sale.bookings,
    sale.holding, waiting_count, sale.seq, tonumber(stored[2]), now,
    expected_epoch, stored[3] or '0', stored[4] or '', stored[5] or '', sale.backlog}
end

local function rules(name) -- in the format of a stream entry; the name is last because it may hold any character
  local function or_dash(number)
    if number then return whole(number) end
    return '-'
  end
  return sale.capacity .. ' ' .. sale.max_per_user .. ' ' .. sale.hold_ms .. ' ' ..
    or_dash(sale.waitlist_limit) .. ' ' .. or_dash(sale.opens_at) .. ' ' .. or_dash(sale.closes_at) .. ' ' ..
    sale.paused .. ' ' .. name
end
