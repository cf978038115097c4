"""Redis: what is true now. Stock, bookings, waiting lists and holds, changed by atomic scripts."""
