"""Many raw connections to a running service, for tests that write single bytes."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.fixtures.service import RunningService

PATIENCE_SECONDS = 60
"""A bound on waits that could otherwise last for ever; not a measurement."""

CONNECTS_AT_ONCE = 500
"""Connections opened at the same time; well below the service's backlog."""


@dataclass(slots=True)
class RawConnection:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """The next answer: status, headers by lower-case name, and the parsed body."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            body = await self.reader.readexactly(int(headers["content-length"]))
            return int(head[0].split()[1]), headers, json.loads(body)

    async def end(self) -> bytes:
        """The remaining bytes until the service closes the connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


def request(method: str, path: str, token: str, body: object = None) -> bytes:
    """One request's bytes."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: crowd\r\nAuthorization: Bearer {token}\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


@asynccontextmanager
async def lines(url: str, number: int) -> AsyncIterator[Sequence[RawConnection]]:
    """Opens this many connections. Aborts those that are still open at the end."""
    where = urlsplit(url)
    opened: list[RawConnection] = []
    try:
        while len(opened) < number:
            more = min(CONNECTS_AT_ONCE, number - len(opened))
            pairs = await asyncio.gather(*(asyncio.open_connection(where.hostname, where.port) for _ in range(more)))
            opened += [RawConnection(*pair) for pair in pairs]
        yield opened
    finally:
        for line in opened:
            line.writer.transport.abort()


def open_sale(service: RunningService, tickets: int = 100_000, **rules: object) -> int:
    """A new event's id."""
    answer = httpx.post(
        f"{service.base_url}/initialize",
        json={"event_name": "crowd", "available_tickets": tickets, **rules},
        headers={"Authorization": f"Bearer {service.token('boss', 'organizer')}"},
        timeout=30,
    )
    event_id: int = answer.json()["event_id"]
    return event_id


def look(service: RunningService, event_id: int) -> Any:
    """The event, read from `/status`."""
    return httpx.get(f"{service.base_url}/status/{event_id}", timeout=30).json()["data"]


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def connections(pid: int) -> int:
    """How many TCP connections a process has open."""
    open_ones = {
        f"socket:[{line.split()[9]}]"
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] != "0A"  # it listens
    }
    held = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            held += str(descriptor.readlink()) in open_ones
    return held


def may_open(number: int) -> bool:
    """Raises this process's limit of open files as far as necessary. Returns False if the system forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number), hard))
    return True
