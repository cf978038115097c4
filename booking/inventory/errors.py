"""Why a command has no outcome."""


class InventoryUnavailable(Exception):
    """Redis is away, stands still or refused: nothing was changed. Worth another try."""


class OutcomeUnknown(Exception):
    """A change was sent and its answer never came: it was made once, or not at all."""


class Overloaded(Exception):
    """More commands wait than can be answered in time: this one was never sent."""


class ShardFenced(InventoryUnavailable):
    """Redis does not hold the data that the service was founded on; selling from it could sell a ticket twice."""


class AddressUnreadable(InventoryUnavailable):
    """The address of Redis holds something that its client cannot read, or that its server refuses."""
