-- next_event_id: gives out the next event's id, or tells the last.
-- KEYS[1] last_event string the highest id that was given out
-- ARGV    step
-- RETURNS one row: the id
return {{redis.call('INCRBY', last_event, step)}}
