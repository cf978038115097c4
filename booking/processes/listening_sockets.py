"""The sockets that the service listens on, and whether somebody answers there."""

import asyncio
import errno
import socket
from urllib.parse import urlsplit

BACKLOG = 4_096
"""Connections that the kernel may keep waiting for a worker; it takes the system's own limit where that is lower."""

ANSWER_SECONDS = 1.0
"""How long one question after the service's health waits; the connection itself is taken by the kernel."""


class Listeners:
    """The listening sockets of the web workers, all on one port. The supervisor holds them: no death closes one.

    Each worker has a socket of its own, and the kernel deals the connections out evenly. From one common socket the
    first worker to wake takes nearly all of a burst (of 64 connections, two workers were seen to take 59 and 5).
    """

    def __init__(self, host: str, port: int, workers: int) -> None:
        """Raises OSError for a host that is not this machine's, and for a port that is taken or not ours to take."""
        self._host = host
        self._several = workers > 1
        # Bound alone first: a port that may be shared would be shared with another service of the same user, too.
        alone = listen(host, port)
        self.port: int = alone.getsockname()[1]
        self.url = url_of(alone)
        self._sockets = {1: alone}
        if self._several:
            alone.close()
            self._sockets = {number: listen(host, self.port, shared=True) for number in range(1, workers + 1)}

    def of(self, worker: int) -> socket.socket:
        """The socket of a worker, counted from 1; opened anew after `give_up`."""
        if worker not in self._sockets:
            self._sockets[worker] = listen(self._host, self.port, shared=self._several)
        return self._sockets[worker]

    def close_socket(self, worker: int) -> None:
        """Closes the socket of a worker that does not come up, so that new connections go to the others."""
        if self._several and worker in self._sockets:
            self._sockets.pop(worker).close()

    def close(self) -> None:
        """Lets go of the port, once the workers have, too."""
        for listener in self._sockets.values():
            listener.close()


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket; `shared` lets others that are shared, and of this user, listen on the same port.

    Raises OSError for a host that is not this machine's, and for a port that is taken or not ours to take.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError:  # of a label that is empty or too long
        raise OSError(errno.EINVAL, "no host can have such a name") from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a client on this machine reaches the listener."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def answers(url: str) -> bool:
    """Whether a worker answers /healthz with 200 within ANSWER_SECONDS."""
    where = urlsplit(url)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            try:
                head = f"GET /healthz HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode())
                return (await reader.readline()).split(b" ")[1:2] == [b"200"]
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
