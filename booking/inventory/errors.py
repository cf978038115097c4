"""The errors of commands that have no outcome."""


class InventoryUnavailable(Exception):
    """Redis cannot be reached, stalls or refuses: nothing was changed. The caller may retry."""


class NotExecuted(InventoryUnavailable):
    """Redis refused the call before it ran: another server has the shard, or this one cannot serve it for now."""


class OutcomeUnknown(Exception):
    """A change was sent and its answer did not arrive: it was made once, or not at all."""


class Overloaded(Exception):
    """Too many commands wait to be answered in time: this one was not sent."""


class ShardFenced(InventoryUnavailable):
    """Redis does not hold the shard with the expected epoch; selling from it could sell a ticket twice."""


class ServerUnverified(InventoryUnavailable):
    """Redis answers, and has to be compared with the database before anything is sold; the database is away."""


class AddressUnreadable(InventoryUnavailable):
    """The address of Redis cannot be parsed, or the server refuses its user or password, or fails its TLS check."""


class CommandRefused(InventoryUnavailable):
    """Redis's ACL refuses a command to the service's user; the message says which, and what to grant."""


class NewlyFenced(NotExecuted, ShardFenced):
    """A shard refuses the epoch, and its server is verified next: in a later term the call can be sent again."""
