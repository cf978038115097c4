"""Redis: the current state of every sale. Atomic scripts change tickets, bookings, waiting lists and holds."""
