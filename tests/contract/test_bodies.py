"""Bodies: how large, of what type, how broken, and where each fault is."""

from typing import Any

import pytest

from .api import Api
from .client import fresh

BODY_BYTES_MAX = 16 * 1024
POSTS = ["/book", "/cancel", "/confirm", "/initialize", "/auth/register", "/auth/login"]
BROKEN = [b"", b" ", b"{", b"}", b'{"event_id": 1', b"{'event_id': 1}", b'{"event_id": 1,}', b"event_id=1", b"\x00",
          b'{"event_id": 1} 2', b'{"event_id": 01}', b'{"event_id": 0x1}', b"undefined", b'{"event_id"}', b"[1",
          b'{"event_id": 1}{"event_id": 1}', b'"', b"\xff\xfe{\x00}\x00", b'{"event_id": "\n"}']  # fmt: skip


def padded(body: bytes, size: int) -> bytes:
    """`body` with spaces after it, `size` bytes in all."""
    return body.ljust(size)


def test_a_body_of_16_kib_is_accepted(api: Api) -> None:
    event_id = api.event()
    answer = api.user().call("POST", "/book", content=padded(b'{"event_id": %d}' % event_id, BODY_BYTES_MAX))
    assert answer.status == 201


@pytest.mark.parametrize("path", POSTS)
def test_a_body_over_16_kib_is_too_large_and_the_connection_closes(api: Api, path: str) -> None:
    size = BODY_BYTES_MAX + 1
    answer = api.raw_connection.send(
        f"POST {path} HTTP/1.1\nAuthorization: {api.organizer.authorization}\nContent-Length: {size}",
        padded(b"{}", size),
        closes=True,
    )
    assert answer.verdict == (413, "body_too_large")


def test_a_content_length_over_the_limit_is_refused_without_waiting_for_the_body(api: Api) -> None:
    head = f"POST /book HTTP/1.1\nAuthorization: {api.user().authorization}\nContent-Length: 1000000000"
    assert api.raw_connection.send(head, b"{", closes=True).verdict == (413, "body_too_large")


def test_a_chunked_body_over_the_limit_is_too_large(api: Api) -> None:
    head = f"POST /book HTTP/1.1\nAuthorization: {api.user().authorization}\nTransfer-Encoding: chunked"
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    assert api.raw_connection.send(head, chunk * 5 + b"0\r\n\r\n", closes=True).verdict == (413, "body_too_large")


def test_a_chunked_body_within_the_limit_is_accepted(api: Api) -> None:
    body = b'{"event_id": %d}' % api.event()
    chunks = b"".join(b"1\r\n%c\r\n" % octet for octet in body) + b"0\r\n\r\n"
    head = f"POST /book HTTP/1.1\nAuthorization: {api.user().authorization}\nTransfer-Encoding: chunked"
    assert api.raw_connection.send(head, chunks).status == 201


def test_the_limit_applies_to_a_patch_too(api: Api) -> None:
    event_id = api.event()
    head = f"PATCH /events/{event_id} HTTP/1.1\nAuthorization: {api.organizer.authorization}\nContent-Length: 20000"
    assert api.raw_connection.send(head, b" " * 20_000, closes=True).verdict == (413, "body_too_large")


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/html"]
)
def test_a_body_of_another_type_is_unsupported(api: Api, path: str, media_type: str) -> None:
    answer = api.organizer.call("POST", path, content=b"{}", headers={"Content-Type": media_type})
    assert answer.verdict == (415, "unsupported_media_type")


@pytest.mark.parametrize("media_type", ["application/jsonx", "application", "json", "application/xml", ";", "a/b/c"])
def test_a_type_that_only_looks_like_json_is_unsupported(api: Api, media_type: str) -> None:
    answer = api.user().call("POST", "/book", content=b'{"event_id": 1}', headers={"Content-Type": media_type})
    assert answer.verdict == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8", None]
)
def test_json_is_accepted_with_a_charset_in_any_case_and_without_a_type(api: Api, media_type: str | None) -> None:
    body = b'{"event_id": %d}' % api.event()
    headers = {} if media_type is None else {"Content-Type": media_type}
    assert api.user().call("POST", "/book", content=body, headers=headers).status == 201


@pytest.mark.parametrize("content", BROKEN)
def test_a_body_that_does_not_parse_is_malformed(api: Api, content: bytes) -> None:
    assert api.user().call("POST", "/book", content=content).verdict == (400, "malformed_json")


@pytest.mark.parametrize("path", POSTS)
def test_an_empty_body_is_malformed_wherever_a_body_is_required(api: Api, path: str) -> None:
    assert api.organizer.call("POST", path, content=b"").verdict == (400, "malformed_json")
    assert api.organizer.call("POST", path).verdict == (400, "malformed_json")


def test_an_empty_patch_is_malformed(api: Api) -> None:
    assert api.organizer.call("PATCH", f"/events/{api.event()}").verdict == (400, "malformed_json")


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("content", [b"[]", b"null", b"1", b'"text"', b"true", b'[{"event_id": 1}]'])
def test_json_that_is_no_object_is_invalid(api: Api, path: str, content: bytes) -> None:
    answer = api.organizer.call("POST", path, content=content)
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {""}


@pytest.mark.parametrize(
    ("path", "body", "pointers"),
    [
        ("/book", {}, {"/event_id"}),
        ("/book", {"event_id": "1", "quantity": "2", "seat": 1}, {"/event_id", "/quantity", "/seat"}),
        ("/book", {"quantity": 0}, {"/event_id", "/quantity"}),
        ("/cancel", {"event": 1}, {"/event_id", "/event"}),
        ("/confirm", {"event_id": None, "quantity": 1}, {"/event_id", "/quantity"}),
        ("/auth/register", {}, {"/email", "/password"}),
        ("/auth/register", {"email": "nobody", "password": "short"}, {"/email", "/password"}),
        ("/auth/login", {"email": 1, "role": "organizer"}, {"/email", "/password", "/role"}),
        ("/initialize", {}, {"/event_name", "/available_tickets"}),
        (
            "/initialize",
            {"event_name": " ", "available_tickets": 0, "max_per_user": 101, "hold_seconds": -1, "waitlist_limit": -1},
            {"/event_name", "/available_tickets", "/max_per_user", "/hold_seconds", "/waitlist_limit"},
        ),
        (
            "/initialize",
            {"event_name": "x", "available_tickets": 1, "opens_at": "soon", "closes_at": 5, "a/b": 1, "c~d": 2},
            {"/opens_at", "/closes_at", "/a~1b", "/c~0d"},
        ),
    ],
)
def test_every_fault_is_listed_with_its_pointer(api: Api, path: str, body: Any, pointers: set[str]) -> None:
    answer = api.organizer.post(path, body)
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == pointers


def test_every_fault_of_a_patch_is_listed(api: Api) -> None:
    answer = api.organizer.change(api.event(), capacity="9", paused=1, hold_seconds=-5, max_per_user=0)
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"/capacity", "/paused", "/hold_seconds", "/max_per_user"}


def test_a_refused_body_changes_nothing(api: Api) -> None:
    event_id = api.event(available_tickets=2)
    before = api.look(event_id)
    user = api.user()
    assert user.post("/book", {"event_id": event_id, "quantity": 1, fresh("x"): 1}).status == 422
    assert user.call("POST", "/book", content=b'{"event_id": %d' % event_id).status == 400
    assert api.look(event_id) == before


def test_a_repeated_name_is_listed_with_every_other_fault(api: Api) -> None:
    event_id = api.event()
    body = f'{{"event_id": {event_id}, "quantity": 0, "event_id": {event_id}, "z": {{"a": 1, "a": 2}}}}'.encode()
    answer = api.user().call("POST", "/book", content=body, headers={"Idempotency-Key": "a b"})
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"/event_id", "/quantity", "/z", "/z/a", "Idempotency-Key"}


def test_both_spellings_of_a_name_are_listed_with_every_other_fault(api: Api) -> None:
    answer = api.organizer.post("/initialize", {"name": "x", "event_name": "", "available_tickets": 0, "z": 1})
    assert answer.pointers == {"/name", "/event_name", "/available_tickets", "/z"}
