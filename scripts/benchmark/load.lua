-- One sale for wrk: every request books with a token of its own, read from a file, one a line. Without a body, everybody
-- just looks (GET), as anyone may.
-- wrk … -s load.lua URL -- TOKENS BODY     prints one line that begins with "figures ", as JSON.
-- No `response` function: with one, wrk hands every answer to Lua, and the generator gets in its own way.

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  exhausted = false
  local body = args[2]
  if not body or body == '' then
    looking = 'GET ' .. wrk.path .. ' HTTP/1.1\r\nHost: ' .. wrk.headers['Host'] .. '\r\n\r\n'
    return
  end
  next_token = assert(io.open(args[1])):lines()
  head = 'POST ' .. wrk.path .. ' HTTP/1.1\r\nHost: ' .. wrk.headers['Host']
    .. '\r\nContent-Type: application/json\r\nContent-Length: ' .. #body .. '\r\nAuthorization: Bearer '
  tail = '\r\n\r\n' .. body
end

function request()
  if looking then return looking end
  local token = next_token and next_token()
  if not token then
    -- wrk has to be given something; it stops at once, and the driver throws the round away.
    next_token, exhausted = nil, true
    wrk.thread:stop()
    token = ''
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
