"""A webhook's receiver on this machine: it verifies each message with the public library, and notes it."""

import json
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was received."""

    id: str
    path: str
    body: Any
    headers: dict[str, str]
    text: str

    def verify(self, secret: str) -> Any:
        """Its body, if it is signed with this secret. Raises WebhookVerificationError."""
        return Webhook(secret).verify(self.text, self.headers)

    @property
    def kind(self) -> str:
        """Its type."""
        kind: str = self.body["type"]
        return kind

    @property
    def place(self) -> tuple[int, int]:
        """The event and the `seq` that it tells of."""
        return self.body["data"]["event_id"], self.body["data"]["seq"]


@dataclass
class Receiver:
    """What was received so far, and how the next messages are answered."""

    port: int = 0
    messages: list[Message] = field(default_factory=list)
    answer: Callable[[Message], int] = lambda _: 204
    """The status of an answer; 0: the connection is closed without one."""
    headers: dict[str, str] = field(default_factory=dict)
    """Fields of every answer."""
    body: bytes = b""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def told(self) -> list[tuple[int, int]]:
        """The event and `seq` of each message, once each, in the order in which they first came."""
        return list(dict.fromkeys(message.place for message in list(self.messages) if "seq" in message.body["data"]))

    def in_order(self) -> bool:
        """Whether each event's changes came in order, repetitions apart."""
        by_event: dict[int, list[int]] = defaultdict(list)
        for event_id, seq in self.told:
            by_event[event_id].append(seq)
        return all(seqs == sorted(seqs) for seqs in by_event.values())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    receiver: Receiver

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of senders that were killed."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["content-length"])).decode()
        receiver = self.server.receiver
        message = Message(self.headers["webhook-id"], self.path, json.loads(text), dict(self.headers), text)
        receiver.messages.append(message)
        status = receiver.answer(message)
        if not status:
            self.close_connection = True
            return
        body = b"" if status == 204 else receiver.body
        head = {"content-length": str(len(body)), **receiver.headers} if status != 204 else receiver.headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self.wfile.write(f"HTTP/1.1 {status} x\r\n{lines}\r\n".encode() + body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """A receiver on this port, or on any free one, until the end of the block."""
    server = _Server(("127.0.0.1", port), _Handler)
    server.receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
