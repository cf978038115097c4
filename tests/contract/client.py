"""A small client of the service that holds every single answer to the envelope before a test gets to see it."""

import contextlib
import http.client
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.fixtures.documented import documented

from .shapes import VISIBLE_ASCII, check_problem, check_success, parse

ANSWER_SECONDS_MAX = 15.0
"""How long a single answer may take before the test fails, in seconds."""

Header = Mapping[str, str | bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: `body` is the parsed JSON, or `{}` where there is none (HEAD, 304)."""

    status: int
    headers: httpx.Headers
    content: bytes
    body: Any

    @property
    def data(self) -> Any:
        """What was asked for; fails on a failure without data."""
        return self.body["data"]

    @property
    def code(self) -> Any:
        """The failure's code, or None."""
        return self.body.get("code")

    @property
    def pointers(self) -> set[str]:
        """Where the faults of a 422 are."""
        return {fault["pointer"] for fault in self.body["errors"]}

    @property
    def verdict(self) -> tuple[int, Any]:
        """Status and code: what a program switches on."""
        return self.status, self.code


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who calls the service: a user, an organizer, or (without an authorization) anyone."""

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
        """Sends `body` as JSON, or `content` as it is; checks the envelope of what comes back."""
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
        """GET; a keyword `If_None_Match` is the header `If-None-Match`."""
        return self.call("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, body: Any, *, key: str | bytes | None = None) -> Answer:
        """POST of a JSON body, with an Idempotency-Key where one is given."""
        return self.call("POST", path, body, headers=None if key is None else {"Idempotency-Key": key})

    def book(self, event_id: int, quantity: int | None = None, *, key: str | bytes | None = None) -> Answer:
        """`POST /book`; without a quantity the field is left out."""
        body = {"event_id": event_id} if quantity is None else {"event_id": event_id, "quantity": quantity}
        return self.post("/book", body, key=key)

    def cancel(self, event_id: int, *, key: str | bytes | None = None) -> Answer:
        """`POST /cancel` of one's own booking."""
        return self.post("/cancel", {"event_id": event_id}, key=key)

    def confirm(self, event_id: int, *, key: str | bytes | None = None) -> Answer:
        """`POST /confirm` of one's own hold."""
        return self.post("/confirm", {"event_id": event_id}, key=key)

    def booking(self, event_id: int) -> Answer:
        """`GET /events/{id}/booking`: one's own live booking."""
        return self.get(f"/events/{event_id}/booking")

    def change(self, event_id: int, **fields: Any) -> Answer:
        """`PATCH /events/{id}` with these fields."""
        return self.call("PATCH", f"/events/{event_id}", fields)


def checked(method: str, path: str | None, status: int, headers: httpx.Headers, content: bytes) -> Answer:
    """Holds one answer to the document and to the envelope: success or problem, the request id there, no body where
    there is none. Without a `path` the document is left out.
    """
    if path is not None:
        assert documented().faults(method, path, status, headers, content) == []
    assert VISIBLE_ASCII.fullmatch(headers["x-request-id"]), headers
    assert status < 500, f"{status}: {content!r}"
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
    """Whether `again` is the replay of `first`: its status and body, under a request id of its own."""
    assert "idempotent-replayed" not in first.headers
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    same = (again.status, again.content) == (first.status, first.content)
    return same and again.headers.get("idempotent-replayed") == "true"


def fresh(prefix: str) -> str:
    """A name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True, slots=True)
class Line:
    """A bare connection to the service, for what a well-behaved HTTP client would not send."""

    host: str
    port: int

    def send(self, head: str, body: bytes = b"", *, closes: bool = False) -> Answer:
        """Sends `head` (lines, without the blank one; Host is added) and `body` as they are, and reads one answer.

        With `closes`, the service has to close the connection afterwards.
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
    # A reset means closed with some of the body still unread: as closed as it gets.
    with contextlib.suppress(ConnectionResetError):
        assert connection.recv(1) == b"", "the connection was left open"


def _octets(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8")
