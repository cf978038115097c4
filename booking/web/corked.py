"""A transport that holds answers back until everything that is ready has run."""

import asyncio
from collections.abc import Iterable
from typing import Any


class CorkedTransport:
    """Writes when everything that is ready has run.

    The answers of a turn then go out one right behind the other, and clients that share a processor are woken once:
    where each write wakes a client that has gone to sleep again, it costs three times as much.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        # Asked once or more a request: not by way of __getattr__.
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Queues `data` behind what is waiting; all of it goes out before the loop waits for anything else."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        """As `write`, for several pieces."""
        for part in parts:
            self.write(part)

    def close(self) -> None:
        """Closes once everything is out."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting and not self._transport.is_closing():  # else the client has gone meanwhile
            self._transport.write(b"".join(waiting))
