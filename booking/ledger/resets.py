"""Requests for a new password: which tokens are valid, and the change of the password with one of them.

A request is written whether or not an account has the email. So the answer to it takes the same time, and the process
that sends the mail is the first to look the account up.
"""

import time

from sqlalchemy import ColumnElement, and_, delete, exists, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.accounts import Account
from booking.domain.mails import Mail, MailKind
from booking.ledger import accounts, queueing
from booking.ledger.tables import password_resets

LIFETIME_MS = 30 * 60_000
"""A token is valid for this time (contract)."""

KEPT_MS = 60 * 60_000
"""Requests are kept for this time, in which they are counted."""

REQUESTS_MAX = 6
"""Requests for one email in KEPT_MS. Others change nothing, so that an account gets a few mails and no flood."""


_NAME = f"{MailKind.RESET}-"
"""What the name of its mail begins with; the token's hash follows."""


def token_hash_of(mail: Mail) -> str:
    """The hash of the token that a mail brings."""
    return mail.name.removeprefix(_NAME)


async def request(connection: AsyncConnection, email_key: str, token_hash: str, nonce: str) -> None:
    """Writes a request and its mail, which has the `nonce` that the token is made of. It ends earlier requests."""
    now_ms = time.time_ns() // 1_000_000
    await connection.execute(delete(password_resets).where(password_resets.c.created_at_ms < now_ms - KEPT_MS))
    of_email = select(func.count()).where(password_resets.c.email_key == email_key)
    if (await connection.scalar(of_email) or 0) >= REQUESTS_MAX:
        return
    row = {"email_key": email_key, "token_hash": token_hash, "created_at_ms": now_ms}
    await connection.execute(insert(password_resets).values(row))
    facts = {"email_key": email_key, "nonce": nonce}
    name, expires_at_ms = f"{_NAME}{token_hash}", now_ms + LIFETIME_MS
    await queueing.add(connection, [Mail(name, MailKind.RESET, None, None, facts, now_ms, now_ms, expires_at_ms)])


async def is_valid(connection: AsyncConnection, token_hash: str) -> bool:
    """Whether the token with this hash may set a password now."""
    return bool(await connection.scalar(select(exists().where(_valid(token_hash)))))


async def use(connection: AsyncConnection, token_hash: str, password_hash: str) -> Account | None:
    """Sets the password of the token's account, once, and ends all tokens of the account.

    None if the token is not valid (any more), or if no account has its email.
    """
    used = delete(password_resets).where(_valid(token_hash)).returning(password_resets.c.email_key)
    email_key = await connection.scalar(used)  # of two at once, one deletes the row
    return None if email_key is None else await accounts.change(connection, email_key, password_hash, None, None)


def _valid(token_hash: str) -> ColumnElement[bool]:
    """The request with this hash, if it is neither too old nor followed by another for its email."""
    later = password_resets.alias()
    followed = exists().where(later.c.email_key == password_resets.c.email_key, later.c.id > password_resets.c.id)
    oldest_ms = time.time_ns() // 1_000_000 - LIFETIME_MS
    return and_(password_resets.c.token_hash == token_hash, password_resets.c.created_at_ms > oldest_ms, ~followed)
