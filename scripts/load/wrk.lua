-- One sale for wrk: everybody books with a token of their own, one in ten cancels later, one in five looks first.
-- wrk -t1 -c64 -d10s --latency -s scripts/load/wrk.lua URL -- SALE      SALE: a file that scripts/load/sale.py wrote
-- Exit 1: an answer was none of the sale's. wrk itself tells the latencies; here each answer is counted by its code.

local LOOKS_EVERY, CANCELS_EVERY = 5, 10
-- Buyers who book between somebody's booking and their cancel: more than there are calls in flight, since wrk sends
-- over whichever connection is free, and a cancel would overtake its booking.
local LAG = 500

-- A sale answers so, and is well. What is none of these (a 5xx, a 401, an event that is not there) is a failure.
local OF_THE_SALE = {
  ['200'] = 'looked or cancelled', ['201'] = 'booked', ['202'] = 'waiting',
  ['403 sale_not_open'] = 'too early', ['403 sale_paused'] = 'paused', ['403 sale_closed'] = 'too late',
  ['409 already_booked'] = 'has one already: the tokens have gone round', ['409 sold_out'] = 'sold out',
  ['409 waitlist_full'] = 'no room on the waiting list', ['429 rate_limited'] = 'too often, more tokens are needed',
  ['404 booking_not_found'] = 'nothing to cancel: was refused a booking',
}

local threads = {}

function setup(thread)
  thread:set('number', #threads)
  threads[#threads + 1] = thread
end

local function give_up(why)
  io.stderr:write('wrk.lua: ', why, '\n')
  os.exit(2)
end

function init(args)
  if not args[1] then give_up('name the file of the sale: wrk … -s wrk.lua URL -- SALE') end
  local file, why = io.open(args[1])
  if not file then give_up(why) end
  local event = file:read('*l') or ''
  event = event:match('^event (%d+)$') or give_up(args[1] .. ' does not begin with the number of an event')
  tokens = {}
  for token in file:lines() do tokens[#tokens + 1] = token end
  file:close()
  if #tokens == 0 then give_up(args[1] .. ' holds no tokens') end
  -- wrk does not say how many threads there are. Each begins in a place of its own: they meet after an eighth at least.
  place = math.floor(#tokens * (number % 8) / 8)
  booked, looked, cancelling, answers = 0, false, {}, {}
  local host = ' HTTP/1.1\r\nHost: ' .. wrk.headers['Host'] .. '\r\n'
  local body = '{"event_id":' .. event .. '}'
  look = 'GET /status/' .. event .. host .. '\r\n'
  post = host .. 'Content-Type: application/json\r\nContent-Length: ' .. #body .. '\r\nAuthorization: Bearer '
  tail = '\r\n\r\n' .. body
end

function request()
  -- First of all somebody looks: wrk asks for one request beforehand, to see what it is like, and throws it away.
  if not looked and booked % LOOKS_EVERY == 0 then
    looked = true
    return look
  end
  if cancelling[1] and booked >= cancelling[1].after then
    return 'POST /cancel' .. post .. table.remove(cancelling, 1).token .. tail
  end
  looked, booked = false, booked + 1
  place = place % #tokens + 1
  if booked % CANCELS_EVERY == 0 then cancelling[#cancelling + 1] = { after = booked + LAG, token = tokens[place] } end
  return 'POST /book' .. post .. tokens[place] .. tail
end

function response(status, headers, body)
  local answer = tostring(status)
  if status >= 300 then answer = answer .. ' ' .. (body:match('"code":"([%w_]+)"') or 'without a code') end
  answers[answer] = (answers[answer] or 0) + 1
end

function done(summary, latency)
  local total, order, failed = {}, {}, 0
  for _, thread in ipairs(threads) do
    for answer, count in pairs(thread:get('answers')) do
      if not total[answer] then order[#order + 1] = answer end
      total[answer] = (total[answer] or 0) + count
    end
  end
  table.sort(order)
  print('  Answers')
  for _, answer in ipairs(order) do
    if not OF_THE_SALE[answer] then failed = failed + total[answer] end
    print(string.format('%9d  %-22s %s', total[answer], answer, OF_THE_SALE[answer] or 'FAILURE'))
  end
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  print(string.format('  p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, max %.2f ms', latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3, latency.max / 1e3))
  print(string.format('  verdict: %d failures, %d calls without an answer', failed, lost))
  if failed > 0 or lost > 0 or #order == 0 then os.exit(1) end
end
