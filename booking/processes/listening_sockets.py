"""The sockets of the service, and a check whether a worker answers there."""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

from booking.settings import local_url

BACKLOG = 4_096
"""Connections that may wait in the kernel for a worker; the system's own limit applies if it is lower."""

ANSWER_SECONDS = 1.0
"""How long one check of the service's health waits. The kernel accepts the connection even if no worker runs."""

PORTS_TRIED = 10
"""How many ports the system is asked for, since one that is free at the first host may be in use at another."""


class Listeners:
    """The sockets of the web workers, all on one port. The supervisor owns them, so a death closes none.

    They are bound here, and a worker listens on its own when it can answer. Until then a connection is refused, so that
    a proxy goes to another node. From then on connections wait while a worker is started again.

    Each worker has its own socket for each address, and the kernel distributes the connections evenly. With one shared
    socket the first worker that wakes takes nearly all of a burst (of 64 connections, two workers took 59 and 5).
    """

    def __init__(self, hosts: Sequence[str], port: int, workers: int) -> None:
        """Raises OSError if a host is not this machine's, or the port is in use or not allowed; names the host."""
        self._hosts = hosts
        self._several = workers > 1
        for tries_left in reversed(range(PORTS_TRIED)):
            self.port = port  # 0: the system chooses one for the first host
            self._sockets: dict[int, list[socket.socket]] = {}
            try:
                self._open_all(workers)
                break
            except OSError as error:
                self.close()
                if port != 0 or error.errno != errno.EADDRINUSE or not tries_left:
                    raise

    def _open_all(self, workers: int) -> None:
        # First exclusively, and listening: the system allows several sockets on one port while none of them listens,
        # and a shared port could also be shared with another service of the same user.
        alone = self._open(listen)
        self.url = url_of(alone[0])
        close_all(alone)
        for number in range(1, workers + 1):
            self._sockets[number] = self._open(self._bind)

    def of(self, worker: int) -> list[socket.socket]:
        """The sockets of a worker, counted from 1; they are opened again after `close_sockets`."""
        if worker not in self._sockets:
            self._sockets[worker] = self._open(self._bind)
        return self._sockets[worker]

    def close_sockets(self, worker: int) -> None:
        """Closes the sockets of a worker that fails to start, so that new connections go to the others."""
        if self._several and worker in self._sockets:
            close_all(self._sockets.pop(worker))

    def close(self) -> None:
        """Closes the sockets. The port is free when the workers have closed theirs, too."""
        for sockets in self._sockets.values():
            close_all(sockets)

    def _bind(self, host: str, port: int) -> socket.socket:
        return bind(host, port, shared=self._several)

    def _open(self, open_socket: Callable[[str, int], socket.socket]) -> list[socket.socket]:
        sockets: list[socket.socket] = []
        for host in self._hosts:
            try:
                sockets.append(open_socket(host, self.port))
            except OSError as error:
                close_all(sockets)
                raise OSError(error.errno, f"{host}:{self.port}: {error.strerror}") from None
            self.port = sockets[0].getsockname()[1]
        return sockets


def close_all(sockets: Iterable[socket.socket]) -> None:
    """Closes these sockets."""
    for one in sockets:
        one.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError as `bind` does."""
    listener = bind(host, port)
    try:
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that does not listen yet. With `shared`, others of the same user may listen on the same port.

    Raises OSError if the host is not this machine's, or the port is in use or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError:  # a label of the name is empty or too long
        raise OSError(errno.EINVAL, "not a valid host name") from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL at which a client on this machine reaches the listener."""
    return local_url(*listener.getsockname()[:2])


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
