"""What stands behind a running service: its Redis and its SQL file, read past the API, which would sweep."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from redis import Redis

from booking.settings import Settings

PATIENCE_SECONDS = 30.0
"""How long something that has to happen may take on a busy machine. What is promised is read from Redis's own times."""


def to_ms(moment: str) -> int:
    """A time of an answer, as milliseconds since 1970."""
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def settings_of(data_dir: Path) -> Settings:
    """The settings of a service that was given nothing but its data folder."""
    return Settings.read({"BOOKING_DATA_DIR": str(data_dir)})


@contextmanager
def redis_of(data_dir: Path) -> Iterator[Redis]:
    """A connection to the embedded server."""
    with closing(Redis.from_url(settings_of(data_dir).redis_address, protocol=2)) as redis:
        yield redis


@dataclass(frozen=True, slots=True)
class Told:
    """A change as SQL has it; the time is Redis's."""

    kind: str
    user_id: str
    at_ms: int


def changes_of(data_dir: Path, event_id: int) -> list[Told]:
    """The event's changes that have reached SQL, in order."""
    path = data_dir / "booking.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        rows = connection.execute(
            "SELECT kind, user_id, at_ms FROM changes WHERE event_id = ? ORDER BY seq", (event_id,)
        ).fetchall()
    return [Told(*row) for row in rows]


def until_expired(data_dir: Path, event_id: int) -> Told:
    """Waits for the event's first expiry, looking at SQL alone."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for change in changes_of(data_dir, event_id):
            if change.kind == "expired":
                return change
        time.sleep(0.05)
    raise AssertionError(f"nothing of event {event_id} expired within {PATIENCE_SECONDS:.0f} s")
