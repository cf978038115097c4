"""The service's own accounts."""

import time

from sqlalchemy import Text, cast, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.accounts import Account
from booking.ledger.errors import EmailTaken
from booking.ledger.tables import bookings, changes, users
from booking.settings import ACCOUNT_PREFIX

_ACCOUNT = (users.c.id, users.c.email, users.c.password_hash, users.c.organizer)


async def add(connection: AsyncConnection, email: str, email_key: str, password_hash: str, organizer: bool) -> Account:
    """Adds an account. Raises EmailTaken if an account has this `email_key`."""
    row = {
        "email": email,
        "email_key": email_key,
        "password_hash": password_hash,
        "organizer": organizer,
        "created_at_ms": time.time_ns() // 1_000_000,
    }
    try:
        account_id = (await connection.execute(insert(users).values(row).returning(users.c.id))).scalar_one()
    except IntegrityError:
        raise EmailTaken("another account has this email") from None
    return Account(account_id, email, password_hash, organizer)


async def find(connection: AsyncConnection, email_key: str) -> Account | None:
    """The account with this `email_key`; None if there is none."""
    found = await connection.execute(select(*_ACCOUNT).where(users.c.email_key == email_key))
    row = found.one_or_none()
    return None if row is None else Account(row.id, row.email, row.password_hash, row.organizer)


async def change(
    connection: AsyncConnection, email_key: str, password_hash: str | None, organizer: bool | None
) -> Account | None:
    """Sets the values that are not None, and returns the account; None if there is no such account."""
    given = {"password_hash": password_hash, "organizer": organizer}
    values = {name: value for name, value in given.items() if value is not None}
    if values:
        await connection.execute(update(users).where(users.c.email_key == email_key).values(values))
    return await find(connection, email_key)


async def events_under_bare_ids(connection: AsyncConnection) -> list[int] | None:
    """The events that have bookings under the bare id of an account; None if there are no accounts."""
    if (await connection.execute(select(users.c.id).limit(1))).first() is None:
        return None
    found = select(bookings.c.event_id).distinct().where(bookings.c.user_id.in_(select(cast(users.c.id, Text))))
    return list(await connection.scalars(found))


async def name(connection: AsyncConnection, event_id: int) -> None:
    """Renames an event's bookings and changes from an account's bare id to its user id. May be repeated."""
    for table in (bookings, changes):
        is_bare = table.c.user_id.in_(select(cast(users.c.id, Text)))
        named = update(table).where(table.c.event_id == event_id, is_bare)
        await connection.execute(named.values(user_id=ACCOUNT_PREFIX + table.c.user_id))
