"""Every key in Redis is built here, and nowhere else.

All keys of a shard contain its hash tag, such as `{3}`. So they are in one slot of a cluster, and one script may use
all of them.
"""

from functools import lru_cache
from hashlib import sha256

PREFIX = "booking"
EVENT_KEY_NAMES = (
    "event",
    "bookings",
    "waiting",
    "holds",
    "due",
    "changes",
    "epoch",
    "rates_even",
    "rates_odd",
    "payments",
)
"""The names of the first KEYS of every script about an event, as in its header.

Some scripts stop after `epoch`, and some after the rates.
"""


def _of_shard(shard: int, name: object) -> str:
    return f"{PREFIX}:{{{shard}}}:{name}"


def shard_of(event_id: int, shards: int) -> int:
    """The shard of an event: its id modulo the number of shards."""
    return event_id % shards


def changes(shard: int) -> bytes:
    """The shard's stream of changes."""
    return _of_shard(shard, "changes").encode()


def epoch(shard: int) -> bytes:
    """The shard's epoch, a random id, after the version of its records (see `records.stored_epoch`).

    If the epoch is missing or not the expected one, Redis has lost data.
    """
    return _of_shard(shard, "epoch").encode()


def trimmed_to(shard: int) -> bytes:
    """The cursor that the shard's stream was trimmed to. SQL has every entry up to it; an old copy has an older one."""
    return _of_shard(shard, "mark").encode()


def restoring(shard: int) -> bytes:
    """The lease of the process that restores the shard."""
    return _of_shard(shard, "restoring").encode()


def all_of_shard(shard: int) -> str:
    """The pattern that every key of a shard matches."""
    return _of_shard(shard, "*")


def shard_in(key: bytes) -> int:
    """The shard of one of a shard's keys, by its hash tag."""
    return int(key[key.index(b"{") + 1 : key.index(b"}")])


def written(changes: bytes) -> bytes:
    """Beside a shard's stream `changes`: a key that is written before each wait for disks or replicas.

    WAIT and WAITAOF wait for the last write of the same client. A repeated answer may be about a change that another
    worker made.
    """
    return changes + b":written"


def due(shard: int) -> bytes:
    """The shard's events with holds, by the end of their first hold."""
    return _of_shard(shard, "due").encode()


def sweeper(shard: int) -> bytes:
    """The lease of the process that expires the shard's holds."""
    return _of_shard(shard, "sweeper").encode()


def persisters(shard: int) -> bytes:
    """The persisters that share the shards, by when their leases end."""
    return _of_shard(shard, "persisters").encode()


def event(event_id: int, shards: int) -> bytes:
    """An event's counters and rules. This key exists as long as the event does."""
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
        own + b":payments",
    )


def answers(event_id: int, shards: int, user_id: str) -> str:
    """A user's first answers to idempotency keys about an event."""
    return f"{_of_shard(shard_of(event_id, shards), event_id)}:answers:{user_id}"


def address_rate(address: str) -> str:
    """The token bucket of a client address, for password checks and calls to `/auth/*`."""
    return f"{PREFIX}:rate:{address}"


def account_rate(email_key: str) -> bytes:
    """The token bucket of an account's failed password checks. The hash keeps the email out of Redis."""
    return f"{PREFIX}:rate:{{{sha256(email_key.encode()).hexdigest()}}}".encode()


def known_address(email_key: str, address: str) -> bytes:
    """Exists if a client address has logged in to an account recently."""
    return account_rate(email_key) + f":{address}".encode(errors="replace")


LAST_EVENT = f"{PREFIX}:last-event".encode()
"""The highest event id that was assigned, on one server. In a cluster each shard has its own: `last_event`."""


def last_event(shard: int) -> bytes:
    """The highest event id of a cluster's shard that was assigned."""
    return _of_shard(shard, "last-event").encode()
