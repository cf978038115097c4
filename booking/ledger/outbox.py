"""The outbox: which changes each of its consumers has still to tell, and the lease of the process that tells them.

A consumer has a cursor for each event, the `seq` of the last change that it is done with. An event without a cursor is
told from its first change. Nothing is written when a change is made, so the outbox costs a sale nothing.
"""

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Row,
    Select,
    and_,
    bindparam,
    func,
    insert,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.changes import Change, ChangeKind
from booking.ledger.ledger import Ledger
from booking.ledger.reads import change_of
from booking.ledger.tables import changes, events, leases, outbox_cursors

MAIL = 0
"""The consumer that sends mails. The others are webhooks, by their ids, which begin at 1."""

WEBHOOKS = "webhooks"
"""The name, in the table `service`, of a value that each change of a webhook replaces."""

RETRY_MS_MAX = 4 * 3_600_000
"""The longest wait before a repetition. A `retry_at_ms` further ahead was written by a clock that was wrong."""

SPAN = 100_000
"""Changes of one event that one query looks through, at most: some 30 ms if it finds none of the wanted kinds."""

_BEGUN = 0
"""The event id of a cursor that says that its consumer has begun."""


Beside = Callable[[AsyncConnection], Awaitable[None]]
"""Writes more in the transaction that moves cursors."""


class LeaseLost(Exception):
    """Another process has the lease by now."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What one process has at a time: it counts as alive for `lease_ms` after each renewal."""

    name: str
    holder: str
    lease_ms: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a consumer is with an event. The times are milliseconds since 1970, by the clock of its machine."""

    consumer: int
    event_id: int
    seq: int
    """The last change that it is done with."""
    replays: int = 0
    """How often the event was replayed to it."""
    attempts: int = 0
    """How often in a row the next change could not be told."""
    failing_since_ms: int | None = None
    """When the first of these attempts was made."""
    retry_at_ms: int | None = None
    """When the next one is due."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """An event of which a consumer has changes to tell, up to `upto`."""

    cursor: Cursor
    upto: int


@dataclass(frozen=True, slots=True)
class Page:
    """Consecutive changes of one event, of the wanted kinds."""

    upto: int
    """A consumer that has told them is done with all changes up to here."""
    changes: list[Change] = field(default_factory=list)


class OutboxLedger:
    """The outbox's access to the database. Every method raises LedgerUnavailable if the database can't be used."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def take_lease(self, lease: Lease) -> bool:
        """Takes the lease from now, or renews it. Returns False if another process has it.

        The clock is the database's, so nodes need not agree about the time.
        """
        async with self.ledger.writing() as connection:
            return await _take_lease(connection, lease)

    async def end_lease(self, lease: Lease) -> None:
        """Ends the lease, if this process has it, so that another one goes on at once."""
        mine = leases.c.name == lease.name, leases.c.holder == lease.holder
        async with self.ledger.writing() as connection:
            await connection.execute(leases.delete().where(*mine))

    async def version(self) -> str:
        """A text that differs after each change in the database, and after each change of the webhooks."""
        async with self.ledger.reading() as connection:
            rows = await connection.execute(_VERSION, {"webhooks": WEBHOOKS})
            return " ".join(row[1] for row in rows.all())

    async def begin(self, consumer: int) -> None:
        """Has a consumer of all events begin with what comes next. Does nothing if it has begun already."""
        async with self.ledger.writing() as connection:
            begun = (outbox_cursors.c.consumer == consumer, outbox_cursors.c.event_id == _BEGUN)
            if await connection.scalar(select(outbox_cursors.c.seq).where(*begun)) is None:
                await connection.execute(insert(outbox_cursors).values(consumer=consumer, event_id=_BEGUN, seq=0))
                await skip_to_now(connection, select(literal(consumer), events.c.id, events.c.seq))

    async def behind(self, consumer: int, now_ms: int, limit: int) -> list[Backlog]:
        """Up to `limit` events, in no order, of which a consumer of all events has changes to tell now.

        Those whose repetition is not due yet are left out.
        """
        mine = and_(outbox_cursors.c.consumer == consumer, outbox_cursors.c.event_id == events.c.id)
        query = (
            select(literal(consumer).label("consumer"), events.c.id.label("event_id"), *CURSOR_COLUMNS)
            .add_columns(events.c.seq.label("upto"))
            .select_from(events.outerjoin(outbox_cursors, mine))
            .where(events.c.seq > func.coalesce(outbox_cursors.c.seq, 0), is_due(now_ms))
            .limit(limit)
        )
        async with self.ledger.reading() as connection:
            return [backlog_of(row) for row in await connection.execute(query)]

    async def pages(self, backlogs: Sequence[Backlog], kinds: Collection[ChangeKind], most: int) -> dict[int, Page]:
        """The next changes of these kinds, up to `most` of each event, by event. All backlogs are of one consumer."""
        ends = {one.cursor.event_id: min(one.upto, one.cursor.seq + SPAN) for one in backlogs}
        names = [kind.value for kind in kinds]
        found: dict[int, list[Change]] = defaultdict(list)
        async with self.ledger.reading() as connection:
            spans = [(one.cursor.event_id, one.cursor.seq, ends[one.cursor.event_id]) for one in backlogs]
            if connection.dialect.name == "postgresql":
                columns = dict(zip(("ids", "afters", "uptos"), map(list, zip(*spans, strict=True)), strict=True))
                query, values = _PAGES_POSTGRESQL, {**columns, "kinds": names, "most": most}
            else:
                query, values = _PAGES_SQLITE, {"spans": json.dumps(spans), "kinds": json.dumps(names), "most": most}
            for change in map(change_of, (await connection.execute(query, values)).all()):
                found[change.event_id].append(change)
        return {
            event_id: Page(some[-1].seq if len(some := found[event_id]) == most else end, some)
            for event_id, end in ends.items()
        }

    async def move(self, lease: Lease, moved: Sequence[Cursor], beside: Beside | None = None) -> None:
        """Writes cursors, what `beside` writes, and renews the lease, in one transaction.

        Raises LeaseLost, and writes nothing, if another process has the lease.

        A cursor whose event was replayed meanwhile stays as the replay has left it.
        """
        async with self.ledger.writing() as connection:
            if not await _take_lease(connection, lease):
                raise LeaseLost
            await write_cursors(connection, moved)
            if beside is not None:
                await beside(connection)


CURSOR_COLUMNS: tuple[ColumnElement[Any], ...] = (
    func.coalesce(outbox_cursors.c.seq, 0).label("seq"),
    func.coalesce(outbox_cursors.c.replays, 0).label("replays"),
    func.coalesce(outbox_cursors.c.attempts, 0).label("attempts"),
    outbox_cursors.c.failing_since_ms,
    outbox_cursors.c.retry_at_ms,
)
"""What a consumer that has no cursor for an event has in its place."""

_VERSION = text("""
    SELECT shard, cursor FROM shards UNION ALL SELECT -1, value FROM service WHERE name = :webhooks ORDER BY 1
""")

_COLUMNS = ", ".join(f"changes.{column.name}" for column in changes.c)
# One statement for many events, of which each has a limit of its own.
_PAGES_SQLITE = text(f"""
    SELECT {_COLUMNS}
    FROM json_each(:spans) AS span
    JOIN changes ON changes.event_id = json_extract(span.value, '$[0]') AND changes.seq IN (
        SELECT one.seq FROM changes AS one
        WHERE one.event_id = json_extract(span.value, '$[0]') AND one.seq > json_extract(span.value, '$[1]')
            AND one.seq <= json_extract(span.value, '$[2]') AND one.kind IN (SELECT value FROM json_each(:kinds))
        ORDER BY one.seq LIMIT :most
    )
    ORDER BY changes.event_id, changes.seq
""")  # noqa: S608 - the names of columns
_PAGES_POSTGRESQL = text(f"""
    SELECT one.*
    FROM unnest(CAST(:ids AS bigint[]), CAST(:afters AS bigint[]), CAST(:uptos AS bigint[])) AS span (id, after, upto)
    CROSS JOIN LATERAL (
        SELECT {_COLUMNS} FROM changes
        WHERE changes.event_id = span.id AND changes.seq > span.after AND changes.seq <= span.upto
            AND changes.kind = ANY (CAST(:kinds AS text[]))
        ORDER BY changes.seq LIMIT :most
    ) AS one
    ORDER BY one.event_id, one.seq
""")  # noqa: S608 - the names of columns

_NOW_MS = {
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)",
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS integer)",
}
"""The database's time, in milliseconds since 1970."""

# A lease further ahead than the longest one was taken while the clock was wrong.
_TAKE_LEASE = {
    name: text(f"""
        INSERT INTO leases (name, holder, until_ms) VALUES (:name, :holder, {now} + :lease_ms)
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
        WHERE leases.holder = excluded.holder OR leases.until_ms <= {now} OR leases.until_ms > {now} + :lease_ms
    """)  # noqa: S608 - both parts are constants
    for name, now in _NOW_MS.items()
}

_WRITE_CURSORS = text("""
    INSERT INTO outbox_cursors (consumer, event_id, seq, replays, attempts, failing_since_ms, retry_at_ms)
    VALUES (:consumer, :event_id, :seq, :replays, :attempts, :failing_since_ms, :retry_at_ms)
    ON CONFLICT (consumer, event_id) DO UPDATE SET seq = excluded.seq, attempts = excluded.attempts,
        failing_since_ms = excluded.failing_since_ms, retry_at_ms = excluded.retry_at_ms
    WHERE outbox_cursors.replays = excluded.replays
""").bindparams(*(bindparam(name, type_=column.type) for name, column in outbox_cursors.c.items()))


def is_due(now_ms: int | BindParameter[int]) -> ColumnElement[bool]:
    """Whether a cursor waits for no repetition."""
    retry_at_ms = outbox_cursors.c.retry_at_ms
    return or_(retry_at_ms.is_(None), retry_at_ms <= now_ms, retry_at_ms > now_ms + RETRY_MS_MAX)


def backlog_of(row: Row[Any]) -> Backlog:
    """A row of `consumer`, `event_id`, CURSOR_COLUMNS and `upto`."""
    consumer, event_id, seq, replays, attempts, failing_since_ms, retry_at_ms, upto = tuple(row)
    return Backlog(Cursor(consumer, event_id, seq, replays, attempts, failing_since_ms, retry_at_ms), upto)


async def skip_to_now(connection: AsyncConnection, found: Select[int, int, int]) -> None:
    """Writes cursors that leave out what there is already: consumer, event and `seq` of each."""
    await connection.execute(insert(outbox_cursors).from_select(["consumer", "event_id", "seq"], found))


async def write_cursors(connection: AsyncConnection, moved: Sequence[Cursor]) -> None:
    """Writes cursors, except those whose event was replayed meanwhile."""
    if moved:
        # In one order, so that two transactions do not wait for each other.
        in_order = sorted(moved, key=lambda cursor: (cursor.consumer, cursor.event_id))
        names = [column.name for column in outbox_cursors.c]
        await connection.execute(
            _WRITE_CURSORS, [{name: getattr(cursor, name) for name in names} for cursor in in_order]
        )


async def _take_lease(connection: AsyncConnection, lease: Lease) -> bool:
    taken = await connection.execute(_TAKE_LEASE[connection.dialect.name], asdict(lease))
    return taken.rowcount == 1
