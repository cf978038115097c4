-- idempotency: stores a caller's first answers to idempotency keys, and repeats them. The answers of a caller about one
-- event are one list, in the order of their first use, and so cost bounded memory.
-- NEEDS   event rates | replay: an index in KEYS, 0 for none; request: "key \n request id \n what was asked"
-- STATUSES IDEMPOTENCY_KEY_REUSED SALE_PAUSED SALE_NOT_OPEN
local ANSWERS_MAX = 64 -- the last ones count (contract)
local CHANGE_MS, REFUSAL_MS = 86400000, 600000 -- 24 h and 10 minutes, from the contract
local answers, refusals = {}, {} -- by list; refused calls by status
local stored, lasts_ms = {}, {} -- by list: the number of new answers, and how long the longest of them lasts

local READ_ANSWERS_MAX = 4000 -- in one call, which takes some 10 ms; items whose answers are not read wait
local has_unread, waits = false, false -- whether some answers were not read; whether an item waits for its answers

local function load_answers()
  local count = 0
  for i = FIXED_KEYS + 1, #KEYS do
    local list = KEYS[i]
    if count >= READ_ANSWERS_MAX then
      has_unread = true
    elseif not answers[list] then
      answers[list] = call('LRANGE', list, 0, -1)
      count = count + #answers[list]
    end
  end
end

local function is_unread(replay) -- also true for all items behind one that waits: they go to the next call together
  waits = waits or (has_unread and replay ~= '0' and not answers[KEYS[tonumber(replay)]])
  return waits
end

local function lifetime(status)
  if status < FIRST_REFUSAL then return CHANGE_MS end
  return REFUSAL_MS
end

local function read_answer(text) -- returns a row and what was asked; or nil, and whether it will count
  local at, request_id, status, number, record, asked = string.match(text, '^.-\n(.-)\n(.-)\n(.-)\n(.-)\n(.-)\n(.*)$')
  at, status = tonumber(at or ''), tonumber(status or '')
  if not (at and status) or now - at >= lifetime(status) then return nil end
  if at > now and status >= FIRST_REFUSAL then return nil, true end -- it was decided while the clock was wrong
  return {status, tonumber(number), record, request_id}, asked
end

local function is_kept(text) -- whether it counts, or will
  local row, will_count = read_answer(text)
  return row or will_count
end

local function earlier_answer(replay, request) -- returns a row, or nil if the key is new
  local mine = answers[KEYS[tonumber(replay)]]
  if #mine == 0 then return nil end
  local key, asked = string.match(request, '^(.-\n).-\n(.*)$')
  for i = #mine, math.max(1, #mine - ANSWERS_MAX + 1), -1 do
    if string.sub(mine[i], 1, #key) == key then
      local row, first_asked = read_answer(mine[i])
      if row and asked ~= first_asked then return {IDEMPOTENCY_KEY_REUSED, 0, '', ''} end
      return row
    end
  end
  return nil
end

local function answer(replay, request, status, number, text) -- returns a row, and stores it if the command has a key
  number, text = number or 0, text or ''
  if status >= FIRST_REFUSAL then refusals[status] = (refusals[status] or 0) + 1 end
  if replay ~= '0' and status ~= SALE_PAUSED and status ~= SALE_NOT_OPEN then -- those two are decided again each time
    local list, key, request_id, asked = KEYS[tonumber(replay)], string.match(request, '^(.-)\n(.-)\n(.*)$')
    local parts = {key, now_text, request_id, status, whole(number), text, asked}
    answers[list][#answers[list] + 1] = table.concat(parts, '\n')
    stored[list], lasts_ms[list] = (stored[list] or 0) + 1, math.max(lasts_ms[list] or 0, lifetime(status))
  end
  return {status, number, text, ''}
end

local function store_answers(list, count)
  local mine = answers[list]
  call('RPUSH', list, unpack(mine, #mine - count + 1))
  local first = math.max(1, #mine - ANSWERS_MAX + 1)
  while not is_kept(mine[first]) do first = first + 1 end -- ends at a new one
  if first > 1 then call('LTRIM', list, first - 1, -1) end
  if call('PTTL', list) < lasts_ms[list] then call('PEXPIRE', list, lasts_ms[list]) end
end

local function flush() -- after `commit`, because these writes need memory
  keep_buckets()
  for list, count in pairs(stored) do store_answers(list, count) end
  for status, count in pairs(refusals) do call('HINCRBY', event, 'refused:' .. status, count) end
end
