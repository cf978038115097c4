-- details: what an organizer tells people about an event, and rules that only some commands read. They are a JSON
-- object with one member a line, as booking/domain/details.py describes, so this needs no JSON library.
-- NEEDS   clock event bounds
local DETAILS = {description = 1, venue = 2, starts_at_ms = 3, ends_at_ms = 4, time_zone = 5, price = 6,
  visibility = 7, offer_seconds = 8, payment_seconds = 9, payment_url = 10} -- in the order in which they are written
local VISIBILITIES = {['"listed"'] = true, ['"unlisted"'] = true, ['"archived"'] = true, [''] = true}
local details, detail_names = {}, {} -- the JSON of each member, '' for none; the members' names

local function put_detail(name, value)
  if not details[name] then detail_names[#detail_names + 1] = name end
  details[name] = value
end

local function read_details() -- keeps members that a later version has written
  for name, value in string.gmatch(call('HGET', event, 'details') or '', '"([%w_]+)":([^\n]-),?\n') do
    put_detail(name, value)
  end
end

local function set_detail(name, value) -- '' for its default; raises an error before the first write
  if value ~= '' and BOUNDS[name] then bounded(name, value) end
  if not DETAILS[name] or string.find(value, '%c') or (name == 'visibility' and not VISIBILITIES[value]) then
    error('an event cannot have ' .. name .. ' = ' .. value)
  end
  put_detail(name, value)
end

local function is_before(name, other)
  local place, other_place = DETAILS[name] or 11, DETAILS[other] or 11
  return place < other_place or (place == other_place and name < other)
end

local function details_text()
  local lines = {}
  table.sort(detail_names, is_before)
  for _, name in ipairs(detail_names) do
    if details[name] ~= '' then lines[#lines + 1] = '"' .. name .. '":' .. details[name] end
  end
  if #lines == 0 then return '{}' end
  return '{\n' .. table.concat(lines, ',\n') .. '\n}'
end

local function ends_before_it_starts()
  local starts_at, ends_at = tonumber(details.starts_at_ms or ''), tonumber(details.ends_at_ms or '')
  return starts_at and ends_at and ends_at < starts_at
end

local function seconds_to_ms(name) -- '' for none
  local seconds = tonumber(details[name] or '')
  return seconds and whole(seconds * 1000) or ''
end

local function detail_fields() -- of the event's hash: the object, and the members that scripts read as numbers
  sale.archived = details.visibility == '"archived"' and 1 or 0
  return 'details', details_text(), 'archived', sale.archived,
    'offer_ms', seconds_to_ms('offer_seconds'), 'payment_ms', seconds_to_ms('payment_seconds')
end
