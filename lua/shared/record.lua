-- record: a booking as text. booking/inventory/records.py describes its format; `emit` writes it.
local function read_record(text) -- a record without a version is older than versions
  local fields = text
  if string.sub(text, 1, 2) == RECORD_VERSION .. ' ' then fields = string.sub(text, 3) end
  local status, quantity, number, created, source, expires = string.match(fields,
    '^(%a) (%d+) (%d+) (%d+) (%a) (%d+)$')
  if not status then error('DAMAGED this version cannot read the booking ' .. text) end
  return {status = status, quantity = tonumber(quantity), number = number, created = created, source = source,
    expires = expires, record = text}
end
