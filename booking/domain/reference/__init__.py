"""The reference model: what every command does to a sale, in the plainest Python there is.

It is the specification of the scripts in `lua/`, written from the contract ("The rules of a sale") and not from them.
A test drives both with the same commands and holds their answers, their state and their streams to be equal. Every
counter is worked out from the bookings whenever it is asked for, so that there is none to forget here.

Nothing is read from outside: each command is told the time, in milliseconds since 1970. Quantities and rules are taken
to be of the right type and within the bounds of `booking.domain.model`; rate limits are no part of this.
"""
