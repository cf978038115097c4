-- event: the state of one event during a call. Everything is read and decided first; `commit` writes it last.
-- NEEDS   clock shard record event bookings waiting changes event_id
local FIELDS = {'available', 'held', 'sold', 'bookings', 'holding', 'backlog', 'seq', 'capacity', 'max_per_user',
  'hold_ms', 'paused', 'waitlist_limit', 'opens_at', 'closes_at', 'prune_from', 'archived', 'offer_ms', 'payment_ms'}
local NEEDED = 11 -- the first fields, which need a number; the others may be empty
local sale -- the event's counters and rules by FIELDS; set by `open_event`; nil if there is no such event
local pruned_from -- `prune_from` before this call
local prune_actor -- who reduced the capacity; set while `sale.prune_from` is
local version, unsaved, waiting_count -- prefix of new records; entries that SQL lacks; users on the waiting list
local known, touched = {}, {} -- bookings by user, false for none; users whose booking has changed
local entries = {} -- new entries of the stream
local more_fields = {} -- by an entry's index: its fields besides the text, as names and values (see records.py)
local actor -- who causes the changes from now on: a user id, or empty for the clock; each step of a call sets it
local newest_entry -- the id of the last entry that `commit` has written; nil if it has written none
local left_waiting, left_holds = {}, {} -- users that `commit` removes from the waiting list, and from the list of holds

local function open_event() -- returns nil, or an error if nothing may be sold from the shard or the event
  read_clock()
  version = read_epoch()
  if not version then return redis.error_reply('FENCED the shard has another epoch than the service expects') end
  local stored = call('HMGET', event, unpack(FIELDS))
  unsaved = call('XLEN', changes) -- a key of a wrong type raises an error here, before the first write
  waiting_count = call('ZCARD', waiting)
  if not stored[1] then return nil end
  sale = {}
  for i, field in ipairs(FIELDS) do
    sale[field] = tonumber(stored[i] or '')
    if i <= NEEDED and not sale[field] then
      return redis.error_reply('DAMAGED the event has no number for ' .. field)
    end
  end
  pruned_from = sale.prune_from
  return nil
end

local READ_MAX = 1000 -- fields in one command

local function load_bookings(users) -- keeps bookings that this call has changed
  for first = 1, #users, READ_MAX do
    local texts = call('HMGET', bookings, unpack(users, first, math.min(first + READ_MAX - 1, #users)))
    for i, text in ipairs(texts) do
      local user = users[first + i - 1]
      if known[user] == nil then known[user] = text and read_record(text) end
    end
  end
end

local function next_seq() -- as text: Lua converts a number to text slowly, and it is needed several times
  sale.seq = sale.seq + 1
  return sale.seq .. ''
end

local function log(seq, kind, text)
  entries[#entries + 1] = event_id .. ' ' .. seq .. ' ' .. kind .. ' ' .. now_text .. ' ' .. text
end

local function add_field(name, value) -- to the newest entry
  local fields = more_fields[#entries] or {}
  fields[#fields + 1], fields[#fields + 2] = name, value
  more_fields[#entries] = fields
end

local function add_actor(reason) -- to the newest entry
  add_field('a', reason and actor .. '\0' .. reason or actor)
end

local function emit(kind, user, booking, reason)
  local seq = next_seq()
  booking.number = booking.number or seq
  -- Inline, because each function call is a percent of a booking's cost.
  booking.record = version .. booking.status .. ' ' .. whole(booking.quantity) .. ' ' .. booking.number .. ' ' ..
    booking.created .. ' ' .. booking.source .. ' ' .. booking.expires
  known[user], touched[user] = booking, true
  log(seq, kind, booking.record .. ' ' .. user)
  if actor ~= user then add_actor(reason) end
  if booking.payment then
    booking.record = with_payment(booking.record, booking.payment)
    add_field('p', booking.payment)
  end
end
