-- clock: Redis's own time, the only clock that the rules of a sale use.
local call = redis.call
local now, now_us, now_text -- milliseconds, microseconds, and the milliseconds as text; set by `read_clock`

local texts = {} -- a cache for this call: most numbers of one buyer are also the next one's

local function whole(number) -- Lua's concatenation keeps 14 digits, too few for times in ms after the year 5138
  local text = texts[number]
  if not text then
    text = string.format('%.0f', number)
    texts[number] = text
  end
  return text
end

local function read_clock()
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
  now_us = time[1] * 1000000 + time[2]
  now_text = whole(now)
end
