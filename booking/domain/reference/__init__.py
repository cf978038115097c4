"""The reference model: what every command does to a sale, in the simplest possible Python.

It specifies the scripts in `lua/`. It was written from the contract ("The rules of a sale"), not from the scripts. A
test gives both the same commands and requires equal answers, states and streams. Every counter is computed from the
bookings when it is read, so that no update of a counter can be forgotten.

The model reads nothing from outside: each command gets the time, in milliseconds since 1970. It does not check that
quantities and rules have the right type and are within the bounds of `booking.domain.model`. It has no rate limits.
"""
