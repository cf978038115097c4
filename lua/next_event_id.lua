-- next_event_id: assigns the next event id (step 1), or reads the last one (step 0).
-- KEYS[1] last_event string the highest id that was assigned
-- ARGV    step
-- RETURNS one row: the id
return {{redis.call('INCRBY', last_event, step)}}
