-- sale: one event, opened for a change. All is read and decided first, and written last, by `commit`.
-- NEEDS   event bookings waiting holds due changes epoch founded event_id
-- A record is "status quantity number created source expires": c(onfirmed) h(eld) w(aiting) x (expired) k (cancelled),
-- then s(ale) or w(aitlist). Times are milliseconds.
if call('GET', epoch) ~= founded then
  return redis.error_reply('FENCED this shard is not the one that the service was founded on')
end
local FIELDS = {'available', 'held', 'sold', 'bookings', 'holding', 'backlog', 'seq', 'capacity', 'max_per_user',
  'hold_ms', 'paused', 'waitlist_limit', 'opens_at', 'closes_at'}
local NEEDED = 11 -- the rest may be empty
local stored = call('HMGET', event, unpack(FIELDS))
local sale = stored[1] and {}
for i, field in ipairs(sale and FIELDS or {}) do
  sale[field] = tonumber(stored[i] or '')
  if i <= NEEDED and not sale[field] then return redis.error_reply('DAMAGED the event has no number for ' .. field) end
end
local unsaved = call('XLEN', changes) -- a wrongly typed key is an error here, before anything was written
local queue_length = call('ZCARD', waiting)

local known, touched, entries = {}, {}, {}
local now_text = whole(now)
local left_queue, left_holds = {}, {}

local function load(users)
  for i, text in ipairs(#users > 0 and call('HMGET', bookings, unpack(users)) or {}) do
    local status, quantity, number, created, source, expires = string.match(text or '',
      '^(%a) (%d+) (%d+) (%d+) (%a) (%d+)$')
    if known[users[i]] == nil then -- what this call has changed already outranks what is stored
      known[users[i]] = status and {status = status, quantity = tonumber(quantity), number = number, created = created,
        source = source, expires = expires, record = text}
    end
  end
end

local function next_seq() -- as text, since writing a number takes Lua longer than most of what is done with it
  sale.seq = sale.seq + 1
  return sale.seq .. ''
end

local function log(seq, kind, text)
  entries[#entries + 1] = event_id .. ' ' .. seq .. ' ' .. kind .. ' ' .. now_text .. ' ' .. text
end

local function emit(kind, user, booking)
  local seq = next_seq()
  booking.number = booking.number or seq
  booking.record = booking.status .. ' ' .. whole(booking.quantity) .. ' ' .. booking.number .. ' ' ..
    booking.created .. ' ' .. booking.source .. ' ' .. booking.expires
  known[user], touched[user] = booking, true
  log(seq, kind, booking.record .. ' ' .. user)
end

local function write(command, key, arguments)
  for at = 1, #arguments, 4000 do -- Lua's stack holds some 8,000
    call(command, key, unpack(arguments, at, math.min(at + 3999, #arguments)))
  end
end
