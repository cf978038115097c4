"""A transport that holds answers back until everything that is ready has run."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol, cast


class Cork:
    """Belongs to one worker and its loop: lets go of the answers of one turn at its end, all at once."""

    def __init__(self) -> None:
        self._waiting: list[CorkedTransport] = []

    def hold(self, transport: "CorkedTransport") -> None:
        """Has the transport's answers go out before the loop waits for anything."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._let_go)
        self._waiting.append(transport)

    def _let_go(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport in waiting:
            transport.flush()


class HearsOut(Protocol):
    """A connection's protocol."""

    def begins_to_hear_out(self) -> bool:
        """Whether what the client is still sending is read from now on, and looked at by nobody."""


class CorkedTransport:
    """Writes when everything that is ready has run.

    The answers of a turn then go out one right behind the other, and clients that share a processor are woken once:
    where each write wakes a client that has gone to sleep again, it costs three times as much.
    """

    def __init__(self, transport: asyncio.Transport, cork: Cork) -> None:
        self._transport = transport
        self._cork = cork
        self._waiting: list[bytes] = []
        self._ended = False
        # Asked once or more a request: not by way of __getattr__.
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Queues `data` behind what is waiting; all of it goes out before the loop waits for anything else."""
        if not self._waiting:
            self._cork.hold(self)
        self._waiting.append(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        """As `write`, for several pieces."""
        for part in parts:
            self.write(part)

    @property
    def held(self) -> int:
        """Pieces that are waiting."""
        return len(self._waiting)

    def flush(self) -> None:
        """Writes what is waiting now."""
        waiting, self._waiting = self._waiting, []
        if waiting and not (self._ended or self._transport.is_closing()):  # else nobody is to hear it
            self._transport.write(b"".join(waiting))

    def close(self) -> None:
        """Closes once everything is out: our own half, where the client is to be heard out."""
        self.flush()
        protocol = cast("HearsOut", self._transport.get_protocol())
        if not self._transport.is_closing() and protocol.begins_to_hear_out():
            self._ended = True
            with suppress(OSError):  # it has reset meanwhile, and its end is about to be told
                self._transport.write_eof()
        else:
            self._transport.close()

    def drop(self) -> None:
        """Closes both halves once everything is out, whatever is still being sent."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
