-- commit: writes what was decided. Writes that free memory come first, so that users can cancel if Redis is full.
-- NEEDS   event holds due
local WRITTEN_MAX = 4000 -- arguments in one command; Lua's stack holds some 8,000

local function write(command, key, arguments)
  for first = 1, #arguments, WRITTEN_MAX do
    call(command, key, unpack(arguments, first, math.min(first + WRITTEN_MAX - 1, #arguments)))
  end
end

local function commit()
  local dropped, kept, queued, held = {}, {}, {}, {} -- by final status: a call may promote and cancel the same user
  for user in pairs(touched) do
    local booking = known[user]
    if booking.status == CANCELLED_LETTER then
      dropped[#dropped + 1] = user
      known[user] = false
    else
      kept[#kept + 1], kept[#kept + 2] = user, booking.record
      if booking.status == WAITING_LETTER then queued[#queued + 1], queued[#queued + 2] = booking.number, user end
      if booking.status == HELD_LETTER then held[#held + 1], held[#held + 2] = booking.expires, user end
    end
  end
  write('HDEL', bookings, dropped)
  write('ZREM', waiting, left_waiting)
  write('ZREM', holds, left_holds)
  write('HSET', bookings, kept)
  write('ZADD', waiting, queued)
  write('ZADD', holds, held)
  for i, entry in ipairs(entries) do
    if more_fields[i] then
      newest_entry = call('XADD', changes, '*', 'c', entry, unpack(more_fields[i]))
    else
      newest_entry = call('XADD', changes, '*', 'c', entry)
    end
  end
  if #entries > 0 then
    call('HSET', event, 'available', sale.available, 'held', sale.held, 'sold', sale.sold, 'bookings', sale.bookings,
      'holding', sale.holding, 'backlog', sale.backlog, 'seq', sale.seq)
  end
  if sale.prune_from then
    call('HSET', event, 'prune_from', whole(sale.prune_from), 'prune_actor', prune_actor)
    call('ZADD', due, now, event_id) -- the sweeper does the next step if no other caller does
  elseif pruned_from or #left_holds + #held > 0 then
    if pruned_from then call('HDEL', event, 'prune_from', 'prune_actor') end
    local first = call('ZRANGE', holds, 0, 0, 'WITHSCORES')
    if first[1] then call('ZADD', due, first[2], event_id) else call('ZREM', due, event_id) end
  end
end
