"""Every key in Redis is built here, and nowhere else.

All keys of a shard carry its hash tag, `{3}`, so that they share one slot of a cluster and one script may touch them.
"""

from functools import lru_cache
from hashlib import sha256

PREFIX = "booking"
EVENT_KEY_NAMES = ("event", "bookings", "waiting", "holds", "due", "changes", "epoch", "rates_even", "rates_odd")
"""The KEYS that every script about an event begins with, by the names in its header; some stop after `epoch`."""


def _of_shard(shard: int, name: object) -> str:
    return f"{PREFIX}:{{{shard}}}:{name}"


def shard_of(event_id: int, shards: int) -> int:
    """Events are dealt to the shards in turn."""
    return event_id % shards


def changes(shard: int) -> bytes:
    """The shard's stream of changes."""
    return _of_shard(shard, "changes").encode()


def epoch(shard: int) -> bytes:
    """The shard's epoch, a random id, behind the version of its records; another one, or none: Redis has lost data.

    `records.stored_epoch` describes the value.
    """
    return _of_shard(shard, "epoch").encode()


def trimmed_to(shard: int) -> bytes:
    """How far the shard's stream was trimmed: a cursor that the database had then. An old copy has an old one."""
    return _of_shard(shard, "mark").encode()


def restoring(shard: int) -> bytes:
    """Who restores the shard, for as long as its lease lasts."""
    return _of_shard(shard, "restoring").encode()


def all_of_shard(shard: int) -> str:
    """The pattern that every key of a shard matches."""
    return _of_shard(shard, "*")


def due(shard: int) -> bytes:
    """The shard's events with live holds, by the end of the first."""
    return _of_shard(shard, "due").encode()


def sweeper(shard: int) -> bytes:
    """The process that expires the shard's dead holds, while its lease lasts."""
    return _of_shard(shard, "sweeper").encode()


def event(event_id: int, shards: int) -> bytes:
    """An event's counters and rules: the first of its keys, there from its first moment on."""
    return _of_shard(shard_of(event_id, shards), event_id).encode()


@lru_cache(maxsize=16_384)
def event_keys(event_id: int, shards: int) -> tuple[bytes, ...]:
    """The keys of `EVENT_KEY_NAMES`, in that order."""
    shard, own = shard_of(event_id, shards), event(event_id, shards)
    return (
        own,
        own + b":bookings",
        own + b":waiting",
        own + b":holds",
        due(shard),
        changes(shard),
        epoch(shard),
        own + b":rates:even",
        own + b":rates:odd",
    )


def replay(event_id: int, shards: int, user_id: str, key: str) -> str:
    """The first answer under a user's idempotency key. The key's length keeps a colon in either from mattering."""
    return f"{_of_shard(shard_of(event_id, shards), event_id)}:replay:{len(key)}:{key}:{user_id}"


def address_rate(address: str) -> str:
    """The bucket of one client address's password checks, and calls to `/auth/*`."""
    return f"{PREFIX}:rate:{address}"


def account_rate(email_key: str) -> bytes:
    """The bucket of the failed password checks of one account; its email is not told to who looks into Redis."""
    return f"{PREFIX}:rate:{{{sha256(email_key.encode()).hexdigest()}}}".encode()


def known_address(email_key: str, address: str) -> bytes:
    """That a client address has logged in to an account lately."""
    return account_rate(email_key) + f":{address}".encode(errors="replace")


LAST_EVENT = f"{PREFIX}:last-event".encode()
"""The highest event id that was given out."""
