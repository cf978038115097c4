-- One sale for wrk: every request books with a token of its own, read from a file, one a line; at one event, or at each
-- of several in turn. Without a body, everybody just looks (GET): with the file's tokens again and again, or as anyone.
-- wrk … -s load.lua URL -- [TOKENS [BODY FIRST_EVENT EVENTS]]     prints one line that begins with "figures ", as JSON.
-- No `response` function: with one, wrk hands every answer to Lua, and the generator gets in its own way.

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

local function post_head(length)
  return 'POST ' .. wrk.path .. ' HTTP/1.1\r\nHost: ' .. wrk.headers['Host']
    .. '\r\nContent-Type: application/json\r\nContent-Length: ' .. length .. '\r\nAuthorization: Bearer '
end

function init(args)
  exhausted = false
  local get = 'GET ' .. wrk.path .. ' HTTP/1.1\r\nHost: ' .. wrk.headers['Host'] .. '\r\n'
  if not args[1] then
    looking = get .. '\r\n'
    return
  end
  tokens = args[1]
  next_token = assert(io.open(tokens)):lines()
  if not args[2] then
    look_head = get .. 'Authorization: Bearer '
    return
  end
  head, tail = post_head(#args[2]), '\r\n\r\n' .. args[2]
  first, events, visits = tonumber(args[3]), tonumber(args[4]), 0
end

local function look_with_token()
  local token = next_token()
  if not token then
    next_token = assert(io.open(tokens)):lines()
    token = next_token()
  end
  return look_head .. token .. '\r\n\r\n'
end

function request()
  if looking then return looking end
  if look_head then return look_with_token() end
  local token = next_token and next_token()
  if not token then
    -- wrk has to be given something; it stops at once, and the driver throws the round away.
    next_token, exhausted = nil, true
    wrk.thread:stop()
    token = ''
  end
  if events > 1 then
    local body = '{"event_id": ' .. first + visits % events .. '}'
    visits = visits + 1
    return post_head(#body) .. token .. '\r\n\r\n' .. body
  end
  return head .. token .. tail
end

function done(summary, latency)
  local errors, dry = summary.errors, false
  for _, thread in ipairs(threads) do dry = dry or thread:get('exhausted') end
  io.write(string.format('figures {"duration_us":%d,"requests":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,'
    .. '"status":%d,"p50_us":%d,"p99_us":%d,"max_us":%d,"exhausted":%s}\n',
    summary.duration, summary.requests, errors.connect, errors.read, errors.write, errors.timeout,
    errors.status, latency:percentile(50), latency:percentile(99), latency.max, tostring(dry)))
end
