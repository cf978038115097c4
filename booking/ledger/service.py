"""The table of what all nodes of the service have to agree on."""

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.ledger.tables import service

FINGERPRINT = "signing secret"
"""The name of the fingerprint of the secret that signs tokens."""


async def read(connection: AsyncConnection, name: str) -> str | None:
    """The value of this name; None if no node has written it."""
    value: str | None = await connection.scalar(select(service.c.value).where(service.c.name == name))
    return value


async def add(connection: AsyncConnection, name: str, value: str) -> None:
    """Writes the value of this name. The database refuses it if there is one already."""
    await connection.execute(insert(service).values(name=name, value=value))


async def replace(connection: AsyncConnection, name: str, value: str) -> None:
    """Writes the value of this name, in place of an earlier one."""
    await connection.execute(_REPLACE, {"name": name, "value": value})


_REPLACE = text("""
    INSERT INTO service (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value
""")
