-- record: a booking as text. booking/inventory/records.py describes its formats; `emit` writes it.
local function read_record(text) -- a record without a version is older than versions
  local fields, payment = text, nil
  if string.sub(text, 1, 2) == RECORD_VERSION .. ' ' then fields = string.sub(text, 3) end
  local status, quantity, number, created, source, expires = string.match(fields,
    '^(%a) (%d+) (%d+) (%d+) (%a) (%d+)$')
  if not status then
    status, quantity, number, created, source, expires, payment = string.match(text,
      '^' .. PAYMENT_VERSION .. ' (%a) (%d+) (%d+) (%d+) (%a) (%d+) (%S+)$')
  end
  if not status then error('DAMAGED this version cannot read the booking ' .. text) end
  return {status = status, quantity = tonumber(quantity), number = number, created = created, source = source,
    expires = expires, payment = payment, record = text}
end

local function with_payment(record, payment) -- the record of a booking that has a payment
  if string.sub(record, 1, 2) == RECORD_VERSION .. ' ' then record = string.sub(record, 3) end
  return PAYMENT_VERSION .. ' ' .. record .. ' ' .. payment
end
