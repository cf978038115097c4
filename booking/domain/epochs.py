"""The epoch of a shard: which history of the shard it is, and which server is the primary in it.

The text is "history", or "history.term.server". A restoration begins another history; clients see only this part, in
ETags and in the ids of live messages. Each server that takes over as the primary begins another term: a server that it
took over from has another epoch, so scripts refuse there what is asked by the new one. Older code takes the whole text
for a random id.
"""

SERVER_DIGITS = 16
"""Digits of a server's `run_id` that an epoch keeps: 64 of its 160 random bits."""


def history_of(epoch: str) -> str:
    """The part that only a restoration changes."""
    return epoch.partition(".")[0]


def is_of(epoch: str, run_id: str) -> bool:
    """Whether this server began the epoch's term."""
    return epoch.rpartition(".")[2] == run_id[:SERVER_DIGITS] and "." in epoch


def next_term(epoch: str, run_id: str) -> str:
    """The epoch with which this server takes over. All processes that see the two come to the same text."""
    return f"{history_of(epoch)}.{_term(epoch) + 1}.{run_id[:SERVER_DIGITS]}"


def follows(epoch: str, before: str) -> bool:
    """Whether the epoch is one term later in the same history."""
    return history_of(epoch) == history_of(before) and _term(epoch) == _term(before) + 1


def is_later(epoch: str, before: str) -> bool:
    """Whether the epoch is of a later term of the same history."""
    return history_of(epoch) == history_of(before) and _term(epoch) > _term(before)


def _term(epoch: str) -> int:
    _, _, rest = epoch.partition(".")
    term = rest.partition(".")[0]
    return int(term) if term.isdecimal() else 0
