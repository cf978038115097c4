"""Webhooks: what organizers have registered, their backlogs, and their last deliveries."""

import secrets
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    RowMapping,
    Select,
    Subquery,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.callers import account_id_of
from booking.domain.changes import ChangeKind
from booking.ledger import service
from booking.ledger.ledger import Ledger
from booking.ledger.outbox import CURSOR_COLUMNS, MAIL, WEBHOOKS, Backlog, Beside, backlog_of, is_due, skip_to_now
from booking.ledger.tables import changes, events, outbox_cursors, users, webhook_deliveries, webhooks

OF_OWNER_MAX = 100
"""Webhooks of one organizer, at most."""

KEPT = 50
"""Deliveries of a webhook that are kept: so many of the last that failed, at places below, and of the others."""


NO_ORGANIZER = "Its owner is no organizer any more."
"""Why a webhook is disabled after a change of its owner's account."""


class TooManyWebhooks(Exception):
    """The organizer has OF_OWNER_MAX webhooks."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """An organizer's endpoint. Times are milliseconds since 1970."""

    id: int
    owner_id: str
    url: str
    kinds: frozenset[ChangeKind]
    event_id: int | None
    """The event whose changes it is told; None: all events that its owner has created."""
    description: str
    secret: str
    old_secret: str | None
    """The secret before the last rotation."""
    old_secret_until_ms: int | None
    """Until when the old one signs, too."""
    disabled_reason: str | None
    """None: it is enabled."""
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to tell a webhook of a change, and what was answered. Times are milliseconds."""

    webhook_id: int
    message_id: str
    event_id: int | None
    seq: int | None
    type: str
    at_ms: int
    attempt: int
    """1 for the first one."""
    duration_ms: int
    status: int | None
    """The HTTP status; None: there was no answer."""
    error: str | None
    """Why it failed; None: it succeeded."""
    answer: str | None
    """How the answer's body begins."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much a webhook has not been told yet."""

    changes: int
    """Of all kinds, also of those that it is not told."""
    oldest_ms: int | None
    """When the oldest of them was made; None: there is none."""


class WebhookLedger:
    """The webhooks in the database. Every method raises LedgerUnavailable if the database can't be used."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    # What organizers do

    async def add(self, webhook: Webhook) -> Webhook:
        """Adds a webhook, whose `id` is chosen, and returns it. It begins with what comes next.

        Raises TooManyWebhooks.
        """
        values = _values(webhook)
        del values["id"]
        async with self._ledger.writing() as connection:
            mine = select(func.count()).select_from(webhooks).where(webhooks.c.owner_id == webhook.owner_id)
            if (await connection.scalar(mine) or 0) >= OF_OWNER_MAX:
                raise TooManyWebhooks
            added = await connection.execute(insert(webhooks).values(**values).returning(webhooks.c.id))
            made = replace(webhook, id=added.scalar_one())
            scope = select(literal(made.id), events.c.id, events.c.seq)
            await skip_to_now(connection, scope.where(_in_scope(made)))
            await _tell(connection)
        return made

    async def find(self, webhook_id: int) -> Webhook | None:
        """The webhook with this id; None if there is none."""
        async with self._ledger.reading() as connection:
            found = await connection.execute(select(webhooks).where(webhooks.c.id == webhook_id))
            row = found.mappings().one_or_none()
        return None if row is None else _webhook(row)

    async def page(self, owner_id: str | None, limit: int, below: int | None) -> list[Webhook]:
        """Up to `limit` webhooks of this owner (None: of all), newest first, with ids lower than `below`."""
        query = select(webhooks).order_by(webhooks.c.id.desc()).limit(limit)
        if owner_id is not None:
            query = query.where(webhooks.c.owner_id == owner_id)
        if below is not None:
            query = query.where(webhooks.c.id < below)
        async with self._ledger.reading() as connection:
            return [_webhook(row) for row in (await connection.execute(query)).mappings()]

    async def change(self, webhook_id: int, values: Mapping[str, object], *, repaired: bool = False) -> Webhook | None:
        """Sets these columns, and returns the webhook; None if there is none.

        If it is `repaired`, all that has failed is tried again at once.
        """
        async with self._ledger.writing() as connection:
            if values:
                await connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(**values))
            if repaired:
                again = {"attempts": 0, "failing_since_ms": None, "retry_at_ms": None}
                of_it = outbox_cursors.c.consumer == webhook_id
                await connection.execute(update(outbox_cursors).where(of_it).values(**again))
            await _tell(connection)
            found = await connection.execute(select(webhooks).where(webhooks.c.id == webhook_id))
            row = found.mappings().one_or_none()
        return None if row is None else _webhook(row)

    async def remove(self, webhook_id: int) -> None:
        """Removes a webhook, its cursors and its deliveries."""
        async with self._ledger.writing() as connection:
            await connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))
            await _remove_leftovers(connection)
            await _tell(connection)

    async def replay(self, webhook_id: int, event_id: int, after: int) -> None:
        """Tells a webhook an event's changes after `after` once more. What was never told is still told."""
        async with self._ledger.writing() as connection:
            await connection.execute(_REPLAY, {"consumer": webhook_id, "event_id": event_id, "after": after})
            await _tell(connection)

    async def deliveries(self, webhook_id: int) -> list[Delivery]:
        """The last deliveries of a webhook that are kept, newest first."""
        query = select(webhook_deliveries).where(webhook_deliveries.c.webhook_id == webhook_id)
        async with self._ledger.reading() as connection:
            rows = await connection.execute(query.order_by(*_NEWEST_FIRST))
            return [_delivery(row) for row in rows.mappings()]

    # What the dispatcher does

    async def enabled(self) -> list[Webhook]:
        """All webhooks that are enabled."""
        async with self._ledger.reading() as connection:
            rows = await connection.execute(select(webhooks).where(webhooks.c.disabled_reason.is_(None)))
            return [_webhook(row) for row in rows.mappings()]

    async def disable_of_others(self) -> None:
        """Disables the webhooks of accounts that are no organizers any more: they may not see the events either."""
        async with self._ledger.writing() as connection:
            owners = await connection.scalars(
                select(webhooks.c.owner_id).distinct().where(webhooks.c.disabled_reason.is_(None))
            )
            by_account = {account_id_of(owner_id): owner_id for owner_id in owners}
            by_account.pop(None, None)  # only the provider knows what users of an outside provider may do
            ids = [account_id for account_id in by_account if account_id is not None]
            if not ids:
                return
            still = await connection.scalars(select(users.c.id).where(users.c.id.in_(ids), users.c.organizer))
            if others := by_account.keys() - set(still):
                theirs = webhooks.c.owner_id.in_([by_account[account_id] for account_id in others])
                await connection.execute(update(webhooks).where(theirs).values(disabled_reason=NO_ORGANIZER))
                await _tell(connection)

    async def behind(self, ids: Collection[int], now_ms: int, most: int) -> tuple[list[Backlog], str]:
        """Of each of these webhooks, if enabled, up to `most` events, drawn by chance, which have changes to be told.

        And a text that differs after each change of a webhook, and is at least as new as the events.
        """
        async with self._ledger.reading() as connection:
            rows = await connection.execute(_BEHIND, {"ids": ids, "now_ms": now_ms, "most": most})
            backlogs = [backlog_of(row) for row in rows.all()]
            return backlogs, await service.read(connection, WEBHOOKS) or ""

    async def next_retry_ms(self, now_ms: int) -> int | None:
        """When the next repetition to an enabled webhook is due after now; None if there is none."""
        of_enabled = outbox_cursors.c.consumer == webhooks.c.id
        query = (
            select(func.min(outbox_cursors.c.retry_at_ms))
            .select_from(outbox_cursors.join(webhooks, of_enabled))
            .where(webhooks.c.disabled_reason.is_(None), outbox_cursors.c.retry_at_ms > now_ms)
        )
        async with self._ledger.reading() as connection:
            found: int | None = await connection.scalar(query)
            return found

    async def newest_places(self) -> dict[tuple[int, bool], int]:
        """The place of the delivery of each webhook that ended last, by whether it succeeded."""
        succeeded = (webhook_deliveries.c.place >= KEPT).label("succeeded")
        columns = webhook_deliveries.c.webhook_id, webhook_deliveries.c.place, succeeded
        ended_at_ms = webhook_deliveries.c.at_ms + webhook_deliveries.c.duration_ms
        last_first = ended_at_ms.desc(), *_NEWEST_FIRST
        place = func.row_number().over(partition_by=(columns[0], succeeded), order_by=last_first).label("nth")
        found = select(*columns, place).subquery()
        async with self._ledger.reading() as connection:
            rows = await connection.execute(select(found).where(found.c.nth == 1))
            return {(row.webhook_id, bool(row.succeeded)): row.place for row in rows}

    @staticmethod
    def recording(deliveries: Mapping[tuple[int, int], Delivery], disabled: Mapping[int, str]) -> Beside:
        """Writes deliveries, each by its webhook and place, over the one that was there before.

        And disables webhooks, each with its reason. Their cursors stay where they are.
        """
        rows = [
            {"place": place, **{name: getattr(one, name) for name in _DELIVERED}}
            for (_, place), one in sorted(deliveries.items(), key=itemgetter(0))
        ]

        async def record(connection: AsyncConnection) -> None:
            for webhook_id, reason in disabled.items():
                enabled = webhooks.c.id == webhook_id, webhooks.c.disabled_reason.is_(None)
                await connection.execute(update(webhooks).where(*enabled).values(disabled_reason=reason))
            if disabled:
                await _tell(connection)
            if not rows:
                return
            await connection.execute(_WRITE_DELIVERIES, rows)

        return record

    async def remove_leftovers(self) -> None:
        """Removes what was written about a webhook that was removed meanwhile."""
        async with self._ledger.writing() as connection:
            await _remove_leftovers(connection)

    # What operators see

    async def disabled(self) -> dict[int, str]:
        """The webhooks that are disabled, each with the reason."""
        query = select(webhooks.c.id, webhooks.c.disabled_reason).where(webhooks.c.disabled_reason.is_not(None))
        async with self._ledger.reading() as connection:
            return {row.id: row.disabled_reason for row in await connection.execute(query)}

    async def waiting(self) -> dict[int, Waiting]:
        """By webhook that is enabled: how much it has not been told yet."""
        scope = _scopes()
        mine = and_(outbox_cursors.c.consumer == scope.c.consumer, outbox_cursors.c.event_id == scope.c.event_id)
        seq = func.coalesce(outbox_cursors.c.seq, 0)
        next_at_ms = (
            select(changes.c.at_ms)
            .where(changes.c.event_id == scope.c.event_id, changes.c.seq > seq)
            .order_by(changes.c.seq)
            .limit(1)
            .correlate(scope, outbox_cursors)
            .scalar_subquery()
        )
        query = (
            select(
                scope.c.consumer, func.sum(scope.c.upto - seq).label("changes"), func.min(next_at_ms).label("oldest")
            )
            .select_from(scope.outerjoin(outbox_cursors, mine))
            .where(scope.c.upto > seq)
            .group_by(scope.c.consumer)
        )
        async with self._ledger.reading() as connection:
            found = {row.consumer: Waiting(int(row.changes), row.oldest) for row in await connection.execute(query)}
            ids = await connection.scalars(select(webhooks.c.id).where(webhooks.c.disabled_reason.is_(None)))
            return {webhook_id: found.get(webhook_id, Waiting(0, None)) for webhook_id in ids}


def new_secret() -> str:
    """A new secret: 32 random bytes, as the specification of Standard Webhooks writes them."""
    return f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"


# Several attempts may have begun in the same millisecond.
_NEWEST_FIRST = tuple(webhook_deliveries.c[name].desc() for name in ("at_ms", "event_id", "seq", "attempt"))

_DELIVERED = tuple(field.name for field in fields(Delivery))

_WRITE_DELIVERIES = text(f"""
    INSERT INTO webhook_deliveries (place, {", ".join(_DELIVERED)})
    VALUES (:place, {", ".join(f":{name}" for name in _DELIVERED)})
    ON CONFLICT (webhook_id, place) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _DELIVERED)}
""").bindparams(  # noqa: S608 - the names of columns
    *(bindparam(name, type_=column.type) for name, column in webhook_deliveries.c.items())
)

# One statement, since the outbox writes the same cursor at any time. An event of which nothing was told begins with its
# first change.
_REPLAY = text("""
    INSERT INTO outbox_cursors (consumer, event_id, seq, replays, attempts) VALUES (:consumer, :event_id, 0, 1, 0)
    ON CONFLICT (consumer, event_id) DO UPDATE SET replays = outbox_cursors.replays + 1, attempts = 0,
        seq = CASE WHEN outbox_cursors.seq < :after THEN outbox_cursors.seq ELSE :after END,
        failing_since_ms = NULL, retry_at_ms = NULL
""").bindparams(*(bindparam(name, type_=BigInteger) for name in ("consumer", "event_id", "after")))


async def _tell(connection: AsyncConnection) -> None:
    """Has the dispatcher read the webhooks again."""
    await service.replace(connection, WEBHOOKS, secrets.token_hex(8))


async def _remove_leftovers(connection: AsyncConnection) -> None:
    ids = select(webhooks.c.id)
    await connection.execute(
        delete(outbox_cursors).where(outbox_cursors.c.consumer != MAIL, outbox_cursors.c.consumer.not_in(ids))
    )
    await connection.execute(delete(webhook_deliveries).where(webhook_deliveries.c.webhook_id.not_in(ids)))


def _scopes() -> Subquery:
    """The events that enabled webhooks are told of: consumer, event and its `seq`."""
    columns = webhooks.c.id.label("consumer"), events.c.id.label("event_id"), events.c.seq.label("upto")
    enabled = webhooks.c.disabled_reason.is_(None)
    of_owner = webhooks.join(events, events.c.organizer_id == webhooks.c.owner_id)
    of_one = webhooks.join(events, events.c.id == webhooks.c.event_id)
    return union_all(
        select(*columns).select_from(of_owner).where(enabled, webhooks.c.event_id.is_(None)),
        select(*columns).select_from(of_one).where(enabled),
    ).subquery()


def _behind() -> Select[Any]:
    """Rows that `backlog_of` reads. Built once, since it takes as long to build as to run."""
    scope = _scopes()
    mine = and_(outbox_cursors.c.consumer == scope.c.consumer, outbox_cursors.c.event_id == scope.c.event_id)
    # By chance, so that no event has to wait for ever behind `most` others.
    place = func.row_number().over(partition_by=scope.c.consumer, order_by=func.random()).label("place")
    found = (
        select(scope.c.consumer, scope.c.event_id, *CURSOR_COLUMNS, scope.c.upto, place)
        .select_from(scope.outerjoin(outbox_cursors, mine))
        .where(scope.c.consumer.in_(bindparam("ids", expanding=True)))
        .where(scope.c.upto > func.coalesce(outbox_cursors.c.seq, 0), is_due(bindparam("now_ms", type_=BigInteger)))
        .subquery()
    )
    columns = [column for column in found.c if column.name != "place"]
    return select(*columns).where(found.c.place <= bindparam("most", type_=BigInteger))


_BEHIND = _behind()


def _in_scope(webhook: Webhook) -> ColumnElement[bool]:
    if webhook.event_id is None:
        return events.c.organizer_id == webhook.owner_id
    return events.c.id == webhook.event_id


def _values(webhook: Webhook) -> dict[str, Any]:
    return {**asdict(webhook), "kinds": kinds_text(webhook.kinds)}


def kinds_text(kinds: Iterable[ChangeKind]) -> str:
    """The kinds as their column holds them, in the order of the enumeration."""
    wanted = set(kinds)
    return " ".join(kind for kind in ChangeKind if kind in wanted)


def _webhook(row: RowMapping) -> Webhook:
    values = dict(row)
    # A kind that this version does not know was written by a newer one, beside which it runs.
    known = {kind.value: kind for kind in ChangeKind}
    values["kinds"] = frozenset(known[kind] for kind in values["kinds"].split() if kind in known)
    return Webhook(**values)


def _delivery(row: RowMapping) -> Delivery:
    values = dict(row)
    del values["place"]
    return Delivery(**values)
