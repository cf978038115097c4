"""Writes mails into their queue."""

from collections.abc import Sequence

import orjson
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.mails import LANES, Mail
from booking.ledger.tables import mails


async def add(connection: AsyncConnection, new: Sequence[Mail]) -> None:
    """Queues mails, except those whose name is there already."""
    if not new:
        return
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    await connection.execute(
        make(mails).on_conflict_do_nothing(index_elements=["name"]),
        [
            {
                "name": mail.name,
                "kind": mail.kind,
                "account_id": mail.account_id,
                "event_id": mail.event_id,
                "data": orjson.dumps(mail.facts).decode(),
                "lane": LANES[mail.kind],
                "created_at_ms": mail.created_at_ms,
                "due_at_ms": mail.due_at_ms,
                "expires_at_ms": mail.expires_at_ms,
            }
            for mail in new
        ],
    )
