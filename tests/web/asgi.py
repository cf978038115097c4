"""Calls an ASGI application directly, with messages that no HTTP client would cause."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.types import ASGIApp, Message

Pairs = Sequence[tuple[bytes, bytes]]


@dataclass
class Answer:
    """The messages that an application sent."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        """A header's first value."""
        return next((value for found, value in self.headers if found == name), None)

    @property
    def json(self) -> Any:
        """The body, read."""
        return orjson.loads(self.body)


def scope(method: str = "GET", path: str = "/", headers: Pairs = (), query: bytes = b"") -> dict[str, Any]:
    """An HTTP request's scope, as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": list(headers),
        "client": ("192.0.2.7", 4711),
        "server": ("127.0.0.1", 8000),
    }


def receiving(*messages: Message) -> Any:
    """A `receive` that gives these messages, and then says that the client has disconnected."""
    waiting = list(messages)

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    return receive


def body(*parts: bytes) -> list[Message]:
    """A request's body in parts."""
    return [
        {"type": "http.request", "body": part, "more_body": place < len(parts)}
        for place, part in enumerate(parts, start=1)
    ]


async def call(application: ASGIApp, request: dict[str, Any], *messages: Message) -> Answer:
    """Makes one request."""
    answer = Answer()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], list(message["headers"])
        else:
            answer.body += message["body"]

    await application(request, receiving(*(messages or body(b""))), send)
    return answer
