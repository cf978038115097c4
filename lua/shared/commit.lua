-- commit: writes what was decided, what frees memory first, so that a full Redis still lets people cancel.
-- NEEDS   sale
local function commit()
  local dropped, kept, queued, held = {}, {}, {}, {} -- by where each ends: a call may promote and cancel one user
  for user in pairs(touched) do
    local booking = known[user]
    if booking.status == 'k' then
      dropped[#dropped + 1] = user
      known[user] = false
    else
      kept[#kept + 1], kept[#kept + 2] = user, booking.record
      if booking.status == 'w' then queued[#queued + 1], queued[#queued + 2] = booking.number, user end
      if booking.status == 'h' then held[#held + 1], held[#held + 2] = booking.expires, user end
    end
  end
  write('HDEL', bookings, dropped)
  write('ZREM', waiting, left_queue)
  write('ZREM', holds, left_holds)
  write('HSET', bookings, kept)
  write('ZADD', waiting, queued)
  write('ZADD', holds, held)
  for _, entry in ipairs(entries) do call('XADD', changes, '*', 'c', entry) end
  if #entries > 0 then
    call('HSET', event, 'available', sale.available, 'held', sale.held, 'sold', sale.sold, 'bookings', sale.bookings,
      'holding', sale.holding, 'backlog', sale.backlog, 'seq', sale.seq)
  end
  if #left_holds + #held > 0 then
    local first = call('ZRANGE', holds, 0, 0, 'WITHSCORES')
    if first[1] then call('ZADD', due, first[2], event_id) else call('ZREM', due, event_id) end
  end
end
