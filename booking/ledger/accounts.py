"""The service's own accounts."""

import time

from sqlalchemy import Row, Text, cast, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.accounts import Account, Role
from booking.domain.callers import account_user_id
from booking.ledger.errors import EmailTaken
from booking.ledger.records import AccountEmail
from booking.ledger.tables import bookings, changes, password_resets, users
from booking.settings import ACCOUNT_PREFIX

_ACCOUNT = (users.c.id, users.c.email, users.c.password_hash, users.c.organizer, users.c.admin, users.c.tokens_from)

_EXISTS = users.c.password_hash != ""
"""A removed account keeps its row, without email and hash, so that its tokens stay ended."""


async def add(connection: AsyncConnection, email: str, email_key: str, password_hash: str, role: Role) -> Account:
    """Adds an account. Raises EmailTaken if an account has this `email_key`."""
    row = {
        "email": email,
        "email_key": email_key,
        "password_hash": password_hash,
        **_flags(role),
        "created_at_ms": time.time_ns() // 1_000_000,
    }
    try:
        added = await connection.execute(insert(users).values(row).returning(*_ACCOUNT))
        return _account(added.one())
    except IntegrityError:
        raise EmailTaken("another account has this email") from None


async def find(connection: AsyncConnection, email_key: str) -> Account | None:
    """The account with this `email_key`; None if there is none."""
    found = await connection.execute(select(*_ACCOUNT).where(users.c.email_key == email_key))
    row = found.one_or_none()
    return None if row is None else _account(row)


async def find_by_id(connection: AsyncConnection, account_id: int) -> Account | None:
    """The account with this id; None if there is none, or if it was removed."""
    row = (await connection.execute(select(*_ACCOUNT).where(users.c.id == account_id, _EXISTS))).one_or_none()
    return None if row is None else _account(row)


async def emails(connection: AsyncConnection, account_ids: list[int]) -> dict[str, AccountEmail]:
    """The emails of these accounts, by user id; a removed account has none."""
    found = select(users.c.id, users.c.email, users.c.email_key).where(users.c.id.in_(account_ids), _EXISTS)
    return {account_user_id(row.id): AccountEmail(row.email, row.email_key) for row in await connection.execute(found)}


async def page(connection: AsyncConnection, after_id: int, limit: int) -> list[Account]:
    """The accounts with an id greater than `after_id`, by id."""
    rows = await connection.execute(
        select(*_ACCOUNT).where(users.c.id > after_id, _EXISTS).order_by(users.c.id).limit(limit)
    )
    return [_account(row) for row in rows]


async def has_organizer(connection: AsyncConnection) -> bool:
    """Whether any account is an organizer's or an administrator's."""
    return bool(await connection.scalar(select(exists().where(users.c.organizer))))


async def change(
    connection: AsyncConnection, email_key: str, password_hash: str | None, role: Role | None, old_hash: str | None
) -> Account | None:
    """Sets the values that are not None, and returns the account; None if there is no such account.

    With `old_hash`, returns None if the account has another hash by now. A new password, and a role that may do less
    than the one before, end all tokens of the account. A new password also ends the requests for one.
    """
    account = await _find_for_update(connection, email_key)
    if account is None or old_hash not in (None, account.password_hash):
        return None
    values: dict[str, object] = {}
    if password_hash is not None:
        values["password_hash"] = password_hash
        await _end_resets(connection, email_key)
    if role is not None:
        values |= _flags(role)
    roles = list(Role)
    if password_hash is not None or (role is not None and roles.index(role) < roles.index(account.role)):
        values["tokens_from"] = _next_tokens_from(account)
    return await _update(connection, account, values) if values else account


async def remove(connection: AsyncConnection, email_key: str) -> Account | None:
    """Erases the email and the password of an account, and ends its tokens; None if there is no such account.

    It ends the requests for a new password, too: another account may have the email later. The row stays,
    because it says since when no token is valid. Returns the account as it was.
    """
    account = await _find_for_update(connection, email_key)
    if account is not None:
        await _end_resets(connection, email_key)
        erased = {"email": "", "email_key": f"removed:{account.id}", "password_hash": "", **_flags(Role.USER)}
        await _update(connection, account, {**erased, "tokens_from": _next_tokens_from(account)})
    return account


async def tokens_from(connection: AsyncConnection, account_id: int) -> int:
    """Tokens of this account with an earlier `iat` are not valid; 0 if there is no such account."""
    found = await connection.execute(select(users.c.tokens_from).where(users.c.id == account_id))
    return found.scalar_one_or_none() or 0


async def tokens_ended(connection: AsyncConnection, since: int) -> dict[str, int]:
    """By user id: `tokens_from` of the accounts whose tokens were ended after `since` (seconds since 1970)."""
    rows = await connection.execute(select(users.c.id, users.c.tokens_from).where(users.c.tokens_from > since))
    return {account_user_id(row.id): row.tokens_from for row in rows}


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


async def _end_resets(connection: AsyncConnection, email_key: str) -> None:
    await connection.execute(delete(password_resets).where(password_resets.c.email_key == email_key))


async def _find_for_update(connection: AsyncConnection, email_key: str) -> Account | None:
    """Like `find`; another transaction that changes the account waits. In SQLite, each one that writes does."""
    found = await connection.execute(select(*_ACCOUNT).where(users.c.email_key == email_key).with_for_update())
    row = found.one_or_none()
    return None if row is None else _account(row)


async def _update(connection: AsyncConnection, account: Account, values: dict[str, object]) -> Account:
    changed = update(users).where(users.c.id == account.id).values(values).returning(*_ACCOUNT)
    return _account((await connection.execute(changed)).one())


def _account(row: Row[int, str, str, bool, bool, int]) -> Account:
    return Account(row.id, row.email, row.password_hash, row.organizer, row.admin, row.tokens_from)


def _flags(role: Role) -> dict[str, bool]:
    return {"organizer": role is not Role.USER, "admin": role is Role.ADMIN}


def _next_tokens_from(account: Account) -> int:
    """A later second than of any token so far: an `iat` has no parts of a second."""
    return max(account.tokens_from, int(time.time())) + 1
