"""Listeners to one event's live stream, held open and read in a process of their own.

    python -m scripts.benchmark.audience HOST PORT EVENT_ID LISTENERS

Prints `ready` once each has heard the event for the first time, reads on until its input ends, and prints what came.
"""

import json
import os
import select
import socket
import sys
import time
from contextlib import closing
from dataclasses import asdict, dataclass

CONNECT_S = 30.0
"""How long those who come together may take until each has been told of the event."""

RECEIVE_BYTES = 65_536

UPDATE = b"event: availability\n"

OPENED_AT_ONCE = 256
"""Connections that wait for their first words together: fewer than a listening socket's queue holds."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the listeners heard between all of them being ready and the end."""

    listeners: int
    updates: int
    received_bytes: int
    lost: int
    """Connections that the service ended."""
    seconds: float
    cpu_s: float


class Ear:
    """One listener: counts the updates in a stream of bytes, wherever it is cut."""

    __slots__ = ("rest", "socket", "updates")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.updates = 0
        self.rest = b""

    def hear(self, piece: bytes) -> int:
        """Takes in what came; returns how many updates it brought."""
        text = self.rest + piece
        updates = text.count(UPDATE)
        # An update that is cut off is counted with its end; one that is whole must not be counted again.
        self.rest = text[text.rfind(b"\n") + 1 :]
        self.updates += updates
        return updates


class Audience:
    """All listeners to one event."""

    def __init__(self, address: tuple[str, int], event_id: int) -> None:
        self._address = address
        host = f"{address[0]}:{address[1]}"
        self._request = f"GET /events/{event_id}/live HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self._poll = select.epoll()
        self._ears: dict[int, Ear] = {}
        self._received = 0
        self._lost = 0

    def gather(self, number: int) -> None:
        """Opens the connections. Raises OSError, and TimeoutError when not all have heard of the event in time."""
        while len(self._ears) < number:
            deadline = time.monotonic() + CONNECT_S
            waiting = {self._open() for _ in range(min(OPENED_AT_ONCE, number - len(self._ears)))}
            while waiting:
                self.listen(0.1)
                if self._lost:
                    raise ConnectionError("the service ended a listener's connection before it had heard anything")
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"{len(self._ears) - len(waiting)} of {number} were listening, and then no more came"
                    )
                waiting = {descriptor for descriptor in waiting if not self._ears[descriptor].updates}

    def listen(self, seconds: float) -> int:
        """Reads what comes, waiting for it so long at most; returns how many updates it brought."""
        updates = 0
        for descriptor, _event in self._poll.poll(seconds):
            if descriptor not in self._ears:
                continue
            ear = self._ears[descriptor]
            try:
                piece = ear.socket.recv(RECEIVE_BYTES)
            except OSError:
                piece = b""
            if piece.startswith(b"HTTP/1.1 ") and not piece.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(f"a listener was answered {piece[9:12].decode()}")
            if piece:
                self._received += len(piece)
                updates += ear.hear(piece)
            else:
                self._lost += 1
                self._poll.unregister(descriptor)
                self._ears.pop(descriptor).socket.close()
        return updates

    def listen_until_told(self, end: int) -> Heard:
        """Reads until the file descriptor `end` has something to say, or is closed."""
        listeners, updates, self._received = len(self._ears), 0, 0
        self._poll.register(end, select.EPOLLIN)
        started, times = time.monotonic(), os.times()
        while not select.select([end], [], [], 0)[0]:
            updates += self.listen(1.0)
        seconds, after = time.monotonic() - started, os.times()
        cpu_s = after.user + after.system - times.user - times.system
        return Heard(listeners, updates, self._received, self._lost, seconds, cpu_s)

    def close(self) -> None:
        """Ends all connections."""
        for ear in self._ears.values():
            ear.socket.close()
        self._poll.close()

    def _open(self) -> int:
        connection = socket.create_connection(self._address, timeout=CONNECT_S)
        connection.sendall(self._request)
        connection.setblocking(False)
        self._ears[connection.fileno()] = Ear(connection)
        self._poll.register(connection, select.EPOLLIN)
        return connection.fileno()


def main() -> None:
    """Gathers, says so, listens, tells."""
    host, port, event_id, number = sys.argv[1:]
    with closing(Audience((host, int(port)), int(event_id))) as audience:
        try:
            audience.gather(int(number))
        except OSError as error:
            sys.exit(f"the listeners could not be gathered: {error}")
        print("ready", flush=True)
        print(json.dumps(asdict(audience.listen_until_told(sys.stdin.fileno()))), flush=True)


if __name__ == "__main__":
    main()
