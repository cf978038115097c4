"""A crowd's calls go past ASGI's messages, and are answered as through them.

A query that means nothing sends the same call the other way: only a bare path goes the short one.
"""

import re
from collections.abc import Callable

import pytest

from .client import Answer, fresh
from .house import House
from .test_wire import connected

JSON = "Content-Type: application/json"
OWN = {"date", "x-request-id", "content-length", "ratelimit", "location"}
"""Headers whose values differ from call to call; that they are there is compared all the same."""

REQUEST_LINES = [
    "POST /book",
    "POST /cancel",
    "POST /confirm",
    "GET /events/{event}/booking",
    "GET /events/{event}",
    "GET /status/{event}",
    "GET /status/999999999",
    "GET /status/0",
    "GET /status/x",
    "GET /status/1/",
    "HEAD /status/{event}",
    "POST /status/{event}",
    "PUT /book",
    "DELETE /events/{event}/booking",
    "OPTIONS /book",
    "PATCH /events/{event}",
]
HEADS: dict[str, list[str]] = {
    "plain": [JSON],
    "no media type": [],
    "a media type with a parameter": ["Content-Type: application/json; charset=utf-8"],
    "a wrong media type": ["Content-Type: text/plain"],
    "two media types": [JSON, JSON],
    "no credentials": [JSON, "Authorization:"],
    "a wrong token": [JSON, "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.x"],
    "two tokens": [JSON, "Authorization: Bearer one"],
    "another scheme": [JSON, "Authorization: Digest a, b"],
    "an id": [JSON, "X-Request-ID: mine"],
    "an id that is none": [JSON, "X-Request-ID: m\u00fc"],
    "two ids": [JSON, "X-Request-ID: one", "X-Request-ID: two"],
    "a key": [JSON, "Idempotency-Key: KEY"],
    "a key that is none": [JSON, "Idempotency-Key: a b"],
    "two keys": [JSON, "Idempotency-Key: a", "Idempotency-Key: b"],
    "a version": [JSON, 'If-None-Match: W/"a"'],
    "any version": [JSON, "If-None-Match: *"],
    "another origin": [JSON, "Origin: https://elsewhere.example"],
    "the last one": [JSON, "Connection: close"],
}
BODIES = [
    b'{"event_id": EVENT}',
    b'{"event_id": 999999999}',
    b'{"event_id": EVENT, "quantity": 0}',
    b'{"event_id": EVENT, "event_id": EVENT}',
    b'{"event_id": "EVENT", "other": 1}',
    b'{"event_id": EVENT',
    b"[]",
    b"",
    b" " * 16_385,
]


def told(answer: Answer, ids: dict[str, str]) -> tuple[object, ...]:
    """What may not differ."""
    text = re.sub(r'"(request_id|id|created_at|event_id)":("[^"]*"|\d+)', r'"\1":_', answer.content.decode())
    for name, meaning in ids.items():
        text = text.replace(name, meaning)
    values = [(name, "" if name in OWN else value) for name, value in answer.headers.multi_items()]
    return answer.status, sorted(values), text


class Ways:
    """Two events that hear the same calls, one of them on the short way and one on ASGI's."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.events = [house.event(event_name="the same", available_tickets=1_000) for _ in range(2)]

    def answers(self, request: Callable[[int, str, str], bytes], method: str) -> list[tuple[object, ...]]:
        """Each event's answer to one call, by a user of its own."""
        answers = []
        for event_id, query in zip(self.events, ("", "?"), strict=True):
            user = fresh("user")
            with connected(self.house) as wire:
                wire.write(request(event_id, self.house.user(user).authorization or "", query))
                answers.append(told(wire.read(method), {user: "USER", f"/{event_id}": "/EVENT"}))
        return answers


def octets(line: str, lines: list[str], body: bytes) -> Callable[[int, str, str], bytes]:
    def request(event_id: int, authorization: str, query: str) -> bytes:
        own = body.replace(b"EVENT", b"%d" % event_id)
        first = f"{line}{query} HTTP/1.1".replace("{event}", str(event_id))
        given = [f"Authorization: {authorization}"]
        if any(one == "Authorization:" for one in lines) or any("Bearer eyJ" in one for one in lines):
            given = []
        rest = [one.replace("KEY", fresh("key")) for one in lines if one != "Authorization:"]
        return "\r\n".join([first, "Host: x", *given, *rest, f"Content-Length: {len(own)}", "", ""]).encode() + own

    return request


def in_chunks(chunks: int) -> Callable[[int, str, str], bytes]:
    def request(event_id: int, authorization: str, query: str) -> bytes:
        head = f"POST /book{query} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nTransfer-Encoding: chunked"
        body = b'{"event_id": %d}' % event_id + b" " * (chunks * 500)
        size = len(body) // chunks + 1
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        return f"{head}\r\n{JSON}\r\n\r\n".encode() + framed + b"0\r\n\r\n"

    return request


@pytest.mark.parametrize("line", REQUEST_LINES)
def test_a_head_means_the_same(house: House, line: str) -> None:
    ways = Ways(house)
    body = BODIES[0] if line.startswith(("POST", "PUT")) else b""
    for name, lines in HEADS.items():
        short, asgi = ways.answers(octets(line, lines, body), line.split()[0])
        assert short == asgi, name


@pytest.mark.parametrize("line", REQUEST_LINES[:3])
def test_a_body_means_the_same(house: House, line: str) -> None:
    ways = Ways(house)
    for body in BODIES:
        short, asgi = ways.answers(octets(line, HEADS["plain"], body), "POST")
        assert short == asgi, body[:50]


def test_a_body_in_chunks_means_the_same(house: House) -> None:
    ways = Ways(house)
    for chunks, status in ((1, 201), (3, 201), (40, 413)):
        short, asgi = ways.answers(in_chunks(chunks), "POST")
        assert short == asgi
        assert short[0] == status


def test_what_follows_a_body_is_no_header(house: House) -> None:
    def request(event_id: int, authorization: str, query: str) -> bytes:
        head = f"POST /book{query} HTTP/1.1\r\nHost: x\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = f'{{"event_id": {event_id}}}'
        return f"{head}{len(body):x}\r\n{body}\r\n0\r\nAuthorization: {authorization}\r\n\r\n".encode()

    short, asgi = Ways(house).answers(request, "POST")
    assert short == asgi
    assert short[0] == 401
