"""An HTTP client for a service that is being broken. It checks what every answer has to satisfy."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

ANSWER_SECONDS_MAX = 2.5
"""The contract's two seconds, and half a second for a busy machine. In `scripts/chaos` a later answer is a violation.
The tests allow START_SECONDS_MAX, because other tests run at the same time."""

START_SECONDS_MAX = 30.0
"""The bound while the service starts. Its port listens from the beginning, so calls wait and are not refused."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def code(self) -> str:
        """The code of a problem; empty for a success."""
        return str(self.body.get("code", "")) if isinstance(self.body, dict) else ""

    @property
    def data(self) -> Any:
        """The data of a success."""
        return self.body["data"]


NOT_SENT = Reply(0, {}, None)
"""The connection was refused, so the call was never sent."""


@dataclass(slots=True)
class HttpClient:
    """A pool of connections to a service. `violations` lists answers that break the contract."""

    urls: Sequence[str]
    """Of its nodes. A call goes to any of them, as behind a proxy."""
    violations: list[str] = field(default_factory=list)
    usual_seconds: float = ANSWER_SECONDS_MAX
    """How long an answer may take while the service runs."""
    seconds: float = ANSWER_SECONDS_MAX
    """How long an answer may take at present: `starting_seconds` while a part starts that clients wait for."""
    in_flight: int = 0
    """Calls without an answer so far."""
    silences: int = 0
    """Calls whose connection ended before the answer: a worker was killed."""
    _idle: list[Streams] = field(default_factory=list)
    _opened: int = 0

    @property
    def starting_seconds(self) -> float:
        """START_SECONDS_MAX, or more on a machine on which every answer may take longer than usual."""
        return START_SECONDS_MAX * max(1.0, self.usual_seconds / ANSWER_SECONDS_MAX)

    async def call(
        self, method: str, path: str, token: str | None, body: Any = None, key: str | None = None
    ) -> Reply | None:
        """Sends a request. Returns its answer, or None if the outcome is unknown because no answer came.

        A text as the body is sent as a form, as a browser does; anything else as JSON.
        """
        request = _request(method, path, token, body, key)
        streams: Streams | None = None
        self.in_flight += 1
        try:
            async with asyncio.timeout(self.seconds):
                streams = self._idle.pop() if self._idle else await self._connect()
                streams[1].write(request)
                reply = await _read(streams[0])
        except TimeoutError:
            self.violations.append(f"{method} {path}: no answer within {self.seconds} s")
            self._drop(streams)
            return None
        except (OSError, asyncio.IncompleteReadError):
            if streams is None:
                return NOT_SENT
            self.silences += 1
            self._drop(streams)
            return None
        except BaseException:
            self._drop(streams)
            raise
        finally:
            self.in_flight -= 1
        if reply.headers.get("connection") == "close":
            self._drop(streams)
        else:
            self._idle.append(streams)
        self._check(method, path, reply)
        return reply

    async def close(self) -> None:
        """Closes the idle connections."""
        for streams in self._idle:
            self._drop(streams)
        self._idle.clear()

    async def _connect(self) -> Streams:
        where = urlsplit(self.urls[self._opened % len(self.urls)])
        self._opened += 1
        return await asyncio.open_connection(where.hostname, where.port)

    def _drop(self, streams: Streams | None) -> None:
        if streams is not None:
            with suppress(OSError):
                streams[1].transport.abort()

    def _check(self, method: str, path: str, reply: Reply) -> None:
        if reply.status >= 500 and (reply.status != 503 or "retry-after" not in reply.headers):
            self.violations.append(f"{method} {path}: {reply.status} {reply.body}")
        if reply.status == 429 and "retry-after" not in reply.headers:
            self.violations.append(f"{method} {path}: 429 without Retry-After")
        if path.startswith("/status/") and reply.status == 200:
            event = reply.data
            parts = event["available_tickets"], event["tickets_held"], event["tickets_sold"]
            if min(parts) < 0 or sum(parts) != event["capacity"]:
                self.violations.append(f"{path}: {event}")


def _request(method: str, path: str, token: str | None, body: Any, key: str | None) -> bytes:
    is_form = isinstance(body, str)
    content = b"" if body is None else body.encode() if is_form else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: chaos", f"Content-Length: {len(content)}"]
    lines += [f"Authorization: Bearer {token}"] * (token is not None)
    lines += [f"Idempotency-Key: {key}"] * (key is not None)
    lines += ["Content-Type: application/x-www-form-urlencoded"] * is_form
    return "\r\n".join([*lines, "", ""]).encode() + content


async def _read(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    if body and "json" not in headers.get("content-type", ""):
        return Reply(int(head[0].split()[1]), headers, body.decode())
    return Reply(int(head[0].split()[1]), headers, json.loads(body) if body else None)
