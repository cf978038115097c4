"""Hostile input in every place of every operation, byte for byte as no correct client sends it."""

import http.client
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from booking.web.openapi.document import document
from tests.fuzz.counter import Tally

ANSWER_SECONDS_MAX = 30.0

PROBLEM = "application/problem+json"

VALUES = {
    "deep list": b"[" * 7_000 + b"]" * 7_000,
    "deep object": b'{"a":' * 1_500 + b"1" + b"}" * 1_500,
    "unclosed list": b"[" * 15_000,
    "NaN": b"NaN",
    "infinity": b"Infinity",
    "-infinity": b"-Infinity",
    "10^400": b"1" + b"0" * 400,
    "-10^400": b"-1" + b"0" * 400,
    "1e400": b"1e400",
    "1e-400": b"1e-400",
    "a fraction": b"1.5",
    "2^31": b"2147483648",
    "2^53+1": b"9007199254740993",
    "2^63": b"9223372036854775808",
    "2^64": b"18446744073709551616",
    "-2^63-1": b"-9223372036854775809",
    "negative": b"-1",
    "zero": b"0",
    "negative zero": b"-0",
    "lone high surrogate": rb'"\ud800"',
    "lone low surrogate": rb'"\udc00\ud800"',
    "surrogate in bytes": b'"\xed\xa0\x80"',
    "NUL": rb'"\u0000"',
    "NUL inside": rb'"a\u0000b"',
    "raw NUL": b'"\x00"',
    "not UTF-8": b'"\xff\xfe"',
    "overlong UTF-8": b'"\xc0\x80"',
    "a long string": b'"' + b"x" * 15_000 + b'"',
    "right to left": '"\u202eabc"'.encode(),
    "only spaces": b'"   "',
    "empty": b'""',
    "null": b"null",
    "true": b"true",
    "object": b"{}",
    "list": b"[1]",
    "number in a string": b'"1"',
    "a formula": b'"=1+1"',
    "SQL": b'"\' OR 1=1 --"',
    "a format": b'"%s%n{0}${jndi:x}"',
    "a time that is none": b'"2026-02-30T25:61:61Z"',
    "a time without an offset": b'"2026-02-28T12:00:00"',
    "year zero": b'"0000-01-01T00:00:00Z"',
    "the last second": b'"9999-12-31T23:59:59.999999999-23:59"',
}
"""Values of a field, in JSON or nearly."""

BODIES = {
    "empty": b"",
    "spaces": b"   ",
    "a NUL": b"\x00",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a list": b"[]",
    "a string": b'"x"',
    "half an object": b'{"event_id": 1',
    "two objects": b"{}{}",
    "a comment": b"{} // x",
    "a repeated field": b'{"event_id": 1, "event_id": 2}',
    "a repeated field in escapes": rb'{"event_id": 1, "\u0065vent_id": 2}',
    "a repeated field deep inside": b'{"x": {"a": 1, "a": 2}}',
    "an unknown field": b'{"__proto__": {"role": "organizer"}}',
    "a field named by a surrogate": rb'{"\ud800": 1}',
    "a thousand fields": b"{" + b",".join(b'"f%d":1' % number for number in range(1_200)) + b"}",
    "too large": b'{"x": "' + b"x" * 20_000 + b'"}',
    "random": bytes(range(256)),
}

TEXTS = (
    "", "0", "-1", "1.5", "1e3", "+1", "01", "9" * 30, "1" + "0" * 400, "NaN", "null", "%00", "%FF", "%ED%A0%80",
    "%C0%AE", "..%2f..%2fetc%2fpasswd", "%0d%0aX-Evil:1", "%F0%9F%8E%9F", "%E0%A5%A7", "1;2", "%", "%zz", "1-1", "0-0",
    "999999999999999-999999999999999", "1-1-1", "{event_id}", "x" * 3_000,
)  # fmt: skip
"""Values in a path or a query, encoded as they are sent."""

HEADERS = (
    b"", b" ", b"\xff\xfe", b"\xed\xa0\x80", b"caf\xe9", b"x" * 300, b"x" * 8_000, b'"', b'""', b'"x', b"a b", b"a\tb",
    b"-1", b"9" * 40, b"0", b"NaN", b'W/"1-open"', b"*", b",,,", b"Bearer", b"Bearer ", b"Bearer a.b.c", b"Basic",
    b"Basic !!!!", b"Basic " + b"A" * 9_000, b"Bearer " + b"." * 500, b"application/xml",
    b"application/json; charset=\xff", b"multipart/form-data",
)  # fmt: skip
"""Values of a header."""

NAMED = (
    "Idempotency-Key",
    "X-Request-ID",
    "If-None-Match",
    "Last-Event-ID",
    "Authorization",
    "Content-Type",
    "Accept",
    "Origin",
)


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    label: str
    method: str
    target: str
    headers: tuple[tuple[str, bytes], ...] = ()
    body: bytes | None = None
    why: str = ""
    refused: bool = False
    """Whether the request is invalid for certain, so that its answer has to be a 4xx."""


def calls(seed: int) -> Iterator[Call]:
    """Every hostile request there is, in an order that the seed decides."""
    made = [
        call
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
        for call in _of_operation(path, method.upper(), operation)
    ]
    random.Random(seed).shuffle(made)
    yield from made


def _of_operation(path: str, method: str, operation: dict[str, Any]) -> Iterator[Call]:
    label = f"{method} {path}"
    plain = path.replace("{event_id}", "1").replace("{code}", "sold_out")
    for name in ("{event_id}", "{code}"):
        if name in path:
            for text in TEXTS:
                yield Call(label, method, path.replace(name, text), why="path")
    for name in ("limit", "starting_after", "status", "format", "nothing"):
        for text in TEXTS:
            yield Call(label, method, f"{plain}?{name}={text}&{name}={quote('x')}", why=f"query {name}")
    for name in NAMED:
        for value in HEADERS:
            body = operation.get("requestBody") and b"{}"
            yield Call(label, method, plain, ((name, value),), body or None, f"header {name}")
    if "requestBody" in operation:
        yield from _of_body(label, method, plain, operation["requestBody"]["content"]["application/json"])


def _of_body(label: str, method: str, target: str, content: dict[str, Any]) -> Iterator[Call]:
    for why, body in BODIES.items():
        yield Call(label, method, target, (), body, why, refused=True)
    name = content["schema"]["$ref"].rpartition("/")[2]
    example = content["example"]
    fields = document()["components"]["schemas"][name]["properties"]
    for field in fields:
        others = {
            key: value for key, value in example.items() if key != field and {key, field} != {"name", "event_name"}
        }
        beside = b"".join(orjson.dumps({key: value})[1:-1] + b"," for key, value in others.items())
        for why, value in VALUES.items():
            body = b"{%b%b:%b}" % (beside, orjson.dumps(field), value)
            yield Call(label, method, target, (), body, f"{field}: {why}")
        value = orjson.dumps(example.get(field, 1))
        twice = b"{%b%b:%b,%b:%b}" % (beside, orjson.dumps(field), value, orjson.dumps(field), value)
        yield Call(label, method, target, (), twice, f"{field} twice", refused=True)


class Sender:
    """Sends requests as they are over one connection, and over a new one if that was closed."""

    def __init__(self, base_url: str, authorization: str, tally: Tally) -> None:
        url = urlsplit(base_url)
        assert url.hostname is not None
        self._connection = http.client.HTTPConnection(url.hostname, url.port, timeout=ANSWER_SECONDS_MAX)
        self._authorization = authorization.encode()
        self._tally = tally

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def send(self, call: Call) -> None:
        """Sends one request and checks its answer."""
        names = {name for name, _ in call.headers}
        headers = list(call.headers)
        if "Authorization" not in names:
            headers.append(("Authorization", self._authorization))
        if call.body is not None and "Content-Type" not in names:
            headers.append(("Content-Type", b"application/json"))
        try:
            status, given, content = self._exchange(call, headers)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self._tally.note(f"{call.label} ({call.why}): no answer: {error!r}")
            return
        wanted = None
        if call.refused and not 400 <= status < 500:
            wanted = f"{call.why} was not refused"
        elif status >= 400 and given.get("content-type") != PROBLEM and not _is_page_or_unreadable(call, status, given):
            wanted = f"{call.why} is no problem document"
        if status == 400 and _unreadable(given):
            self._tally.answers[call.label, status] += 1  # the server could not read it as HTTP; no endpoint was asked
            return
        self._tally.judge(call.label, call.method, call.target, status, given, content, wanted)

    def _exchange(self, call: Call, headers: list[tuple[str, bytes]]) -> tuple[int, dict[str, str], bytes]:
        connection = self._connection
        connection.putrequest(call.method, call.target, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if call.body is not None:
            connection.putheader("Content-Length", str(len(call.body)))
        connection.endheaders(call.body)
        response = connection.getresponse()
        given = {name.lower(): value for name, value in response.getheaders()}
        if given.get("content-type", "").startswith("text/event-stream"):
            content = response.read1(1024)
            connection.close()
        else:
            content = response.read()
        return response.status, given, content


def _is_page_or_unreadable(call: Call, status: int, headers: dict[str, str]) -> bool:
    """Whether another answer than a problem document is right: a page says in HTML that there is no such sale."""
    return (status == 404 and call.label == "GET /sale/{event_id}") or (status == 400 and _unreadable(headers))


def _unreadable(headers: dict[str, str]) -> bool:
    return headers.get("content-type", "").startswith("text/plain")
