"""A small client that checks the envelope of every answer before it returns the answer to the test."""

import contextlib
import http.client
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.fixtures.documented import documented
from tests.fixtures.waiting import PATIENCE_SECONDS

from .shapes import VISIBLE_ASCII, check_problem, check_success, parse

ANSWER_SECONDS_MAX = 15.0
"""How long a single answer may take before the test fails, in seconds."""

Header = Mapping[str, str | bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `body` is the parsed JSON, or `{}` if there is none (HEAD, 304)."""

    status: int
    headers: httpx.Headers
    content: bytes
    body: Any

    @property
    def data(self) -> Any:
        """The data of the answer. Fails if there is none."""
        return self.body["data"]

    @property
    def code(self) -> Any:
        """The failure's code, or None."""
        return self.body.get("code")

    @property
    def pointers(self) -> set[str]:
        """The pointers of a 422's faults."""
        return {fault["pointer"] for fault in self.body["errors"]}

    @property
    def verdict(self) -> tuple[int, Any]:
        """Status and code."""
        return self.status, self.code


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller of the service: a user, an organizer, or, without an authorization, an anonymous client."""

    http: httpx.Client
    id: str = ""
    authorization: str | None = None

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: bytes | None = None,
        headers: Header | None = None,
    ) -> Answer:
        """Sends `body` as JSON, or `content` as it is. Checks the envelope of the answer."""
        sent = [(name.encode(), _octets(value)) for name, value in (headers or {}).items()]
        if self.authorization is not None and "Authorization" not in (headers or {}):
            sent.append((b"Authorization", _octets(self.authorization)))
        response = (
            self.http.request(method, path, json=body, headers=sent)
            if body is not None
            else self.http.request(method, path, content=content, headers=sent)
        )
        return checked(method, path, response.status_code, response.headers, response.content)

    def get(self, path: str, **headers: str) -> Answer:
        """GET; a keyword `If_None_Match` is the header `If-None-Match`.

        On a busy machine SQL may be behind. An answer that says so is asked for again, for PATIENCE_SECONDS at most.
        """
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        until = time.monotonic() + PATIENCE_SECONDS
        answer = self.call("GET", path, headers=fields)
        while answer.body.get("up_to_date") is False and time.monotonic() < until:
            answer = self.call("GET", path, headers=fields)
        return answer

    def post(self, path: str, body: Any, *, key: str | bytes | None = None) -> Answer:
        """POST of a JSON body, with an Idempotency-Key if one is given."""
        return self.call("POST", path, body, headers=None if key is None else {"Idempotency-Key": key})

    def book(self, event_id: int, quantity: int | None = None, *, key: str | bytes | None = None) -> Answer:
        """`POST /book`. Without a quantity the field is omitted."""
        body = {"event_id": event_id} if quantity is None else {"event_id": event_id, "quantity": quantity}
        return self.post("/book", body, key=key)

    def cancel(self, event_id: int, *, key: str | bytes | None = None) -> Answer:
        """`POST /cancel` of the caller's own booking."""
        return self.post("/cancel", {"event_id": event_id}, key=key)

    def confirm(self, event_id: int, *, key: str | bytes | None = None) -> Answer:
        """`POST /confirm` of the caller's own hold."""
        return self.post("/confirm", {"event_id": event_id}, key=key)

    def booking(self, event_id: int) -> Answer:
        """`GET /events/{id}/booking`: the caller's own live booking."""
        return self.get(f"/events/{event_id}/booking")

    def change(self, event_id: int, **fields: Any) -> Answer:
        """`PATCH /events/{id}` with these fields."""
        return self.call("PATCH", f"/events/{event_id}", fields)


def checked(method: str, path: str | None, status: int, headers: httpx.Headers, content: bytes) -> Answer:
    """Checks one answer against the envelope, and against the OpenAPI document if there is a `path`."""
    if path is not None:
        assert documented().faults(method, path, status, headers, content) == []
    assert VISIBLE_ASCII.fullmatch(headers["x-request-id"]), headers
    assert status < 500, f"{status}: {content!r}"
    assert headers["cache-control"] == ("no-cache" if "etag" in headers else "no-store"), (method, path, headers)
    if method == "HEAD" or status in (204, 304):
        assert content == b""
        return Answer(status, headers, content, {})
    body = parse(content)
    if status < 400:
        check_success(headers, body)
    else:
        check_problem(status, headers, body)
        if headers.get("idempotent-replayed") is None:
            assert body["request_id"] == headers["x-request-id"]
    return Answer(status, headers, content, body)


def replayed(again: Answer, first: Answer) -> bool:
    """Whether `again` is the replay of `first`: the same status and body under a new request id."""
    assert "idempotent-replayed" not in first.headers
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    same = (again.status, again.content) == (first.status, first.content)
    return same and again.headers.get("idempotent-replayed") == "true"


def fresh(prefix: str) -> str:
    """A name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True, slots=True)
class RawConnection:
    """A raw connection to the service, for requests that a well-behaved HTTP client would not send."""

    host: str
    port: int

    def send(self, head: str, body: bytes = b"", *, closes: bool = False) -> Answer:
        """Sends `head` (lines without the blank one; Host is added) and `body` as they are. Reads one answer.

        With `closes`, checks that the service closes the connection afterwards.
        """
        method, path = head.split()[:2]
        lines = [line.strip() for line in head.strip().splitlines()]
        lines.insert(1, f"Host: {self.host}:{self.port}")
        with socket.create_connection((self.host, self.port), timeout=ANSWER_SECONDS_MAX) as connection:
            try:
                connection.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
            except (BrokenPipeError, ConnectionResetError):
                assert closes, "the connection closed before the request was sent"
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            content = response.read()
            headers = httpx.Headers(response.getheaders())
            if closes:
                _expect_end(connection)
            return checked(method, path, response.status, headers, content)


def _expect_end(connection: socket.socket) -> None:
    # A reset means that the connection was closed with unread data.
    with contextlib.suppress(ConnectionResetError):
        assert connection.recv(1) == b"", "the connection was left open"


def _octets(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8")
