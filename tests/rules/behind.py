"""Reads a running service's Redis and SQL file directly, because a read through the API would expire holds."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from redis import Redis

from booking.settings import Settings
from tests.fixtures.waiting import eventually


def to_ms(moment: str) -> int:
    """A time from an answer, in milliseconds since 1970."""
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def settings_of(data_dir: Path) -> Settings:
    """The settings of a service that has only its data folder configured."""
    return Settings.read({"BOOKING_DATA_DIR": str(data_dir)})


@contextmanager
def redis_of(data_dir: Path) -> Iterator[Redis]:
    """A connection to the embedded server."""
    with closing(Redis.from_url(settings_of(data_dir).redis_address, protocol=2)) as redis:
        yield redis


@dataclass(frozen=True, slots=True)
class StoredChange:
    """A change from SQL. Its time is from Redis."""

    kind: str
    user_id: str
    at_ms: int


def changes_of(data_dir: Path, event_id: int) -> list[StoredChange]:
    """The event's changes that have reached SQL, in order."""
    path = data_dir / "booking.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        rows = connection.execute(
            "SELECT kind, user_id, at_ms FROM changes WHERE event_id = ? ORDER BY seq", (event_id,)
        ).fetchall()
    return [StoredChange(*row) for row in rows]


def until_expired(data_dir: Path, event_id: int) -> StoredChange:
    """Waits for the event's first expiry. Reads only SQL."""
    expired: list[StoredChange] = []

    def has_expired() -> bool:
        expired[:] = [change for change in changes_of(data_dir, event_id) if change.kind == "expired"]
        return bool(expired)

    eventually(has_expired, f"a hold of event {event_id} expires")
    return expired[0]
