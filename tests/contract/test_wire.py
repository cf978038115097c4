"""HTTP/1.1 on the wire, as clients and proxies send it, down to the bytes."""

import contextlib
import http.client
import socket
from collections.abc import Iterator

import httpx
import pytest

from .api import Api
from .client import ANSWER_SECONDS_MAX, Answer, checked


class Wire:
    """An open connection that any number of requests may be written to and answers read from."""

    def __init__(self, api: Api, connection: socket.socket) -> None:
        self.connection = connection
        self.file = connection.makefile("rb")
        self.host = f"{api.raw_connection.host}:{api.raw_connection.port}"

    def write(self, octets: bytes) -> None:
        """Sends these octets now."""
        self.connection.sendall(octets)

    def read(self, method: str = "POST") -> Answer:
        """The next answer."""
        response = http.client.HTTPResponse(_Borrowed(self), method=method)  # type: ignore[arg-type]  # a file is enough
        response.begin()
        return checked(method, None, response.status, httpx.Headers(response.getheaders()), response.read())

    def ended(self) -> bool:
        """Waits for the service to close the connection. Returns whether it did."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True


class _Borrowed:
    """Lends the connection's one buffered file to each answer in turn, so that nothing read ahead is lost."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def makefile(self, _mode: str) -> "_Borrowed":
        return self

    def readline(self, size: int = -1) -> bytes:
        return self.wire.file.readline(size)

    def read(self, size: int = -1) -> bytes:
        return self.wire.file.read(size)

    def readinto(self, buffer: bytearray) -> int:
        return self.wire.file.readinto(buffer)

    def flush(self) -> None:
        """Does nothing, since nothing is written."""

    def close(self) -> None:
        """Does nothing: the file stays open for the next answer."""


@contextlib.contextmanager
def connected(api: Api) -> Iterator[Wire]:
    """A connection to the service."""
    address = (api.raw_connection.host, api.raw_connection.port)
    with socket.create_connection(address, timeout=ANSWER_SECONDS_MAX) as connection:
        wire = Wire(api, connection)
        with wire.file:
            yield wire


def booking(api: Api, wire: Wire, event_id: int, *lines: str, version: str = "HTTP/1.1") -> bytes:
    """The octets of a `/book` by a fresh user, with further header lines."""
    body = b'{"event_id": %d}' % event_id
    head = [f"POST /book {version}", f"Host: {wire.host}", f"Authorization: {api.user().authorization}", *lines]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


def test_requests_sent_together_are_answered_in_order(api: Api) -> None:
    event_id = api.event(available_tickets=2)
    with connected(api) as wire:
        status = f"GET /status/{event_id} HTTP/1.1\r\nHost: {wire.host}\r\n\r\n".encode()
        wire.write(b"".join(booking(api, wire, event_id) for _ in range(3)) + status)
        assert [wire.read().status for _ in range(3)] == [201, 201, 202]
        assert wire.read("GET").data["waiting_list_count"] == 1


def test_answers_of_different_speed_keep_their_order(api: Api) -> None:
    event_id = api.event()
    with connected(api) as wire:
        missing = f"GET /nowhere HTTP/1.1\r\nHost: {wire.host}\r\n\r\n".encode()
        read = f"GET /events/{event_id} HTTP/1.1\r\nHost: {wire.host}\r\n\r\n".encode()
        wire.write((booking(api, wire, event_id) + missing + read) * 5)
        statuses = [wire.read(method).status for _ in range(5) for method in ("POST", "GET", "GET")]
    assert statuses == [201, 404, 200] + [409, 404, 200] * 4


def test_a_connection_is_kept_for_the_next_request_and_closed_when_asked(api: Api) -> None:
    event_id = api.event(available_tickets=5)
    with connected(api) as wire:
        for _ in range(3):
            wire.write(booking(api, wire, event_id))
            assert wire.read().status == 201
        wire.write(booking(api, wire, event_id, "Connection: close"))
        assert wire.read().status == 201
        assert wire.ended()


def test_an_unexpected_body_is_not_read_as_the_next_request(api: Api) -> None:
    event_id = api.event()
    with connected(api) as wire:
        body = booking(api, wire, event_id)
        head = f"GET /status/{event_id} HTTP/1.1\r\nHost: {wire.host}\r\nContent-Length: {len(body)}\r\n\r\n"
        for _ in range(2):
            wire.write(head.encode() + body)
            assert wire.read("GET").data["available_tickets"] == 1


def test_http_1_0_is_answered_and_the_connection_closed(api: Api) -> None:
    event_id = api.event()
    with connected(api) as wire:
        wire.write(booking(api, wire, event_id, version="HTTP/1.0"))
        assert wire.read().status == 201
        assert wire.ended()


def test_http_1_0_gets_no_chunks(api: Api) -> None:
    """As a proxy does by default (RFC 9112, section 6.1)."""
    event_id = api.event()
    api.user().book(event_id)
    organizer = f"Authorization: {api.organizer.authorization}"
    with connected(api) as wire:
        wire.write(f"GET /events/{event_id}/bookings?format=csv HTTP/1.0\r\n{organizer}\r\n\r\n".encode())
        told, _, rows = wire.file.read().partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in told
        assert b"connection: close" in told
        assert rows.startswith(b"id,event_id,")
        assert rows.endswith(b"\r\n")
        assert rows.count(b"\r\n") == 2
    with connected(api) as wire:
        wire.write(f"GET /events/{event_id}/live HTTP/1.0\r\n\r\n".encode())
        lines: list[bytes] = []
        while sum(line.startswith(b"data: ") for line in lines) < 2:
            if any(line.startswith(b"data: ") for line in lines):
                api.user().book(event_id)
            lines.append(wire.file.readline())
        head, body = lines[: lines.index(b"\r\n")], lines[lines.index(b"\r\n") + 1 :]
        assert not any(line.lower().startswith(b"transfer-encoding") for line in head)
        assert {line.partition(b":")[0] for line in body} == {b"retry", b"event", b"id", b"data", b"\n"}


def test_an_http_1_0_client_gets_no_100_continue(api: Api) -> None:
    with connected(api) as wire:
        octets = booking(api, wire, api.event(), "Expect: 100-continue", version="HTTP/1.0")
        wire.write(octets)
        assert wire.file.readline().split()[1] == b"201"


def test_a_length_may_have_zeros_before_it(api: Api) -> None:
    with connected(api) as wire:
        octets = booking(api, wire, api.event())
        wire.write(octets.replace(b"Content-Length: ", b"Content-Length: " + b"0" * 5_000))
        assert wire.read().status == 201


def test_a_request_may_arrive_octet_by_octet(api: Api) -> None:
    event_id = api.event()
    with connected(api) as wire:
        wire.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in booking(api, wire, event_id):
            wire.write(bytes([octet]))
        assert wire.read().status == 201


def test_header_names_ignore_case(api: Api) -> None:
    event_id = api.event()
    with connected(api) as wire:
        head, body = booking(api, wire, event_id, "IDEMPOTENCY-KEY: k", "x-REQUEST-id: mixed").split(b"\r\n\r\n")
        head = head.replace(b"Authorization", b"AUTHORIZATION").replace(b"Content-Length", b"content-LENGTH")
        wire.write(head + b"\r\n\r\n" + body)
        answer = wire.read()
        assert (answer.status, answer.headers["x-request-id"]) == (201, "mixed")
        wire.write(head + b"\r\n\r\n" + body)
        assert wire.read().headers["idempotent-replayed"] == "true"


def test_a_client_that_expects_100_continue_gets_it(api: Api) -> None:
    event_id = api.event()
    with connected(api) as wire:
        head, body = booking(api, wire, event_id, "Expect: 100-continue").split(b"\r\n\r\n")
        wire.write(head + b"\r\n\r\n")
        assert wire.file.readline().startswith(b"HTTP/1.1 100")
        assert wire.file.readline() == b"\r\n"
        wire.write(body)
        assert wire.read().status == 201


@pytest.mark.parametrize("sent", ["half of the body", "no body", "half of the head"])
def test_a_client_that_disconnects_in_its_request_books_nothing(api: Api, sent: str) -> None:
    event_id = api.event()
    with connected(api) as wire:
        request = booking(api, wire, event_id)
        head_octets = request.index(b"\r\n\r\n") + 4
        wire.write(
            request[: {"half of the body": len(request) - 4, "no body": head_octets}.get(sent, head_octets // 2)]
        )
        wire.connection.shutdown(socket.SHUT_WR)
        assert not wire.file.read().startswith(b"HTTP/1.1 2"), "the service did not close its side"
    assert api.look(event_id)["available_tickets"] == 1


@pytest.mark.parametrize(
    "head",
    [
        "POST /book HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6",
        "POST /book HTTP/1.1\r\nHost: x\r\nContent-Length: -1",
        "POST /book HTTP/1.1\r\nHost: x\r\nContent-Length: five",
        "POST /book HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        "POST /book HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity",
        "GET /events HTTP/1.1\r\nHost: x\r\nNo colon here",
        "GET /events HTTP/1.1\r\nHost: x\r\nA\x00B: c",
        "GET /events HTTP/9.9\r\nHost: x",
        "GET  HTTP/1.1\r\nHost: x",
        "\x16\x03\x01\x02\x00",
    ],
)
def test_invalid_http_is_refused_and_smuggles_no_request(api: Api, head: str) -> None:
    """At most one answer, never a success, and the connection is closed so that later bytes are not read."""
    event_id = api.event()
    with connected(api) as wire:
        smuggled = booking(api, wire, event_id)
        try:
            wire.write(head.encode("latin-1") + b"\r\n\r\n" + b"0\r\n\r\n" + smuggled)
            wire.connection.shutdown(socket.SHUT_WR)
            answered = wire.file.read()
        except ConnectionResetError:
            answered = b""
    assert answered == b"" or answered.startswith(b"HTTP/1.1 4")
    assert answered.count(b"HTTP/1.1 ") <= 1
    assert api.look(event_id)["available_tickets"] == 1


@pytest.mark.parametrize("method", ["BREW", "PURGE", "TRACE", "CONNECT"])
def test_an_unknown_method_is_405_with_the_allowed_methods(api: Api, method: str) -> None:
    with connected(api) as wire:
        wire.write(f"{method} /book HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = wire.read(method)
        assert (answer.status, answer.body["code"], answer.headers["allow"]) == (405, "method_not_allowed", "POST")


def test_a_transfer_encoding_other_than_chunked_is_501(api: Api) -> None:
    event_id = api.event()
    with connected(api) as wire:
        octets = booking(api, wire, event_id, "Transfer-Encoding: gzip, chunked")
        wire.write(octets.replace(b"Content-Length", b"X-Length"))
        answered = wire.file.read()
        assert answered.startswith(b"HTTP/1.1 501 ")
        assert b'"code":"transfer_encoding_unsupported"' in answered
    assert api.look(event_id)["available_tickets"] == 1


@pytest.mark.parametrize("hosts", [0, 2])
def test_a_missing_or_repeated_host_header_is_400(api: Api, hosts: int) -> None:
    event_id = api.event()
    with connected(api) as wire:
        host = f"Host: {wire.host}\r\n".encode()
        wire.write(booking(api, wire, event_id).replace(host, host * hosts))
        answer = wire.read()
        assert (answer.status, answer.body["code"]) == (400, "malformed_request")
        assert wire.ended()
    assert api.look(event_id)["available_tickets"] == 1


@pytest.mark.parametrize("path", ["/initialize", "/book"])
def test_a_half_closed_client_is_answered(api: Api, path: str) -> None:
    event_id = api.event()
    with connected(api) as wire:
        octets = booking(api, wire, event_id)
        if path == "/initialize":
            body = b'{"event_name": "half", "available_tickets": 1}'
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {api.organizer.authorization}\r\n"
            octets = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        wire.write(octets)
        wire.connection.shutdown(socket.SHUT_WR)
        assert wire.read().status == 201
        assert wire.ended()


def test_invalid_http_gets_a_problem_document(api: Api) -> None:
    with connected(api) as wire:
        wire.write(b"what is this?\r\n\r\n")
        answer = wire.read()
        assert (answer.status, answer.body["code"]) == (400, "malformed_request")
        assert wire.ended()
    assert api.http.get("/problems/malformed_request").status_code == 200
