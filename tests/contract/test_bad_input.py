"""Bad input of every kind: a 4xx with a problem document, never a 5xx, and nothing changed."""

import gzip
from collections.abc import Callable

import pytest

from .api import Api
from .client import Answer

HUGE = b"1" + b"0" * 400
VALUES = [
    b"null", b"true", b"false", b"0", b"-1", b"-0", b"1.5", b"1e400", b"-1e400", b"1e-400", b"NaN", b"Infinity",
    b"-Infinity", HUGE, b"-" + HUGE, b"9223372036854775807", b"9223372036854775808", b"18446744073709551616",
    b"9007199254740993", b"2147483648", b"1E5", b'""', b'"1"', b'"\\u0000"', b'"\\ud800"', b'"\\udc00\\ud800"',
    b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b"[]", b"[1]", b"{}", b'{"event_id": 1}',
    b"[" * 5_000 + b"]" * 5_000, b'{"a":' * 2_000 + b"1" + b"}" * 2_000, b"[" * 10_000,
    b'"' + b"x" * 10_000 + b'"', b"1 2", b"'1'", b"1,", b"0x10", b"+1", b"01", b".5", b"1.", b'"\\x41"', b'"\n"',
]  # fmt: skip
"""Values of a field, as bytes. None is valid for any field of `/book` on an unknown event."""

WHOLE = {
    "a byte order mark": b'\xef\xbb\xbf{"event_id": 1}',
    "UTF-16": '{"event_id": 1}'.encode("utf-16"),
    "UTF-32": '{"event_id": 1}'.encode("utf-32"),
    "Latin-1": '{"event_id": 1, "é": 1}'.encode("latin-1"),
    "a NUL": b"\x00",
    "a NUL at the end": b'{"event_id": 1}\x00',
    "a comment": b'{"event_id": 1} // one',
    "a deep list": b"[" * 8_000 + b"]" * 8_000,
    "a deep object": b'{"event_id":' * 1_200 + b"1" + b"}" * 1_200,
    "a list": b'[{"event_id": 1}]',
    "a string": b'"event_id"',
    "XML": b"<event_id>1</event_id>",
    "a form": b"event_id=1&quantity=1",
    "a name given twice": b'{"event_id": 1, "event_id": 2}',
    "a name given twice, escaped": b'{"event_id": 1, "\\u0065vent_id": 1}',
    "a thousand unknown fields": b"{" + b",".join(b'"f%d":1' % number for number in range(1_000)) + b"}",
    "an unknown field with a NUL": b'{"event_id": 1, "\\u0000": 1}',
    "an unknown field with a lone surrogate": b'{"event_id": 1, "\\ud83c": 1}',
    "an unknown field in another script": '{"event_id": 1, "événement\u202e🎟": 1}'.encode(),
    "a prototype": b'{"event_id": 1, "__proto__": {"role": "organizer"}}',
}
BODY_FIELDS = {
    "/book": (b"event_id", b"quantity"),
    "/cancel": (b"event_id", b"user_id"),
    "/confirm": (b"event_id",),
    "/auth/register": (b"email", b"password"),
    "/initialize": (
        b"event_name", b"available_tickets", b"max_per_user", b"hold_seconds", b"waitlist_limit", b"opens_at",
    ),
}  # fmt: skip
RIGHT = {
    b"event_id": b"1",
    b"event_name": b'"x"',
    b"available_tickets": b"1",
    b"email": b'"someone@example.com"',
    b"password": b'"long enough"',
}
GOOD_VALUES = {
    b"event_name": (b'"1"',),
    b"waitlist_limit": (b"null", b"0", b"-0", b"2147483648", b"9007199254740993", b"9223372036854775807",
                        b"9223372036854775808", b"18446744073709551616"),
    b"opens_at": (b"null",),
    b"hold_seconds": (b"0", b"-0"),
    b"user_id": (b'"1"',),
}  # fmt: skip
"""The VALUES that a field accepts."""


def refusal(answer: Answer) -> bool:
    """Whether the answer is a 4xx. The client has already checked the problem document."""
    return 400 <= answer.status < 500


def body_with(path: str, field: bytes, value: bytes) -> bytes:
    """A body for `path` that is valid except for `field`."""
    fields = {name: RIGHT[name] for name in BODY_FIELDS[path] if name in RIGHT} | {field: value}
    return b"{" + b", ".join(b'"%s": %s' % pair for pair in fields.items()) + b"}"


@pytest.mark.parametrize("path", sorted(BODY_FIELDS))
def test_an_invalid_value_is_refused_in_any_field(api: Api, path: str) -> None:
    sold = api.event(available_tickets=3)
    before = api.look(sold)
    for field in BODY_FIELDS[path]:
        for value in VALUES:
            if value in GOOD_VALUES.get(field, ()):
                continue
            answer = api.organizer.call("POST", path, content=body_with(path, field, value))
            assert refusal(answer), (field, value[:60], answer.status)
    assert api.look(sold) == before


def test_an_invalid_value_is_refused_in_a_change(api: Api) -> None:
    event_id = api.event(available_tickets=3)
    before = api.look(event_id)
    for field in (b"capacity", b"max_per_user", b"paused", b"opens_at", b"closes_at", b"waitlist_limit", b"other"):
        for value in VALUES:
            fine = (b"null",) if field.endswith(b"_at") else GOOD_VALUES.get(field, ())
            if value in fine or (field == b"capacity" and value in (b"0", b"-0")):
                continue
            if field == b"paused" and value in (b"true", b"false"):
                continue
            content = b'{"%s": %s}' % (field, value)
            answer = api.organizer.call("PATCH", f"/events/{event_id}", content=content)
            assert refusal(answer), (field, value[:60], answer.status)
    assert api.look(event_id) == before


@pytest.mark.parametrize("kind", sorted(WHOLE))
def test_a_body_that_is_no_valid_object_is_refused(api: Api, kind: str) -> None:
    users_event = api.event()
    content = WHOLE[kind].replace(b'"event_id": 1', b'"event_id": %d' % users_event)
    for path in ("/book", "/cancel", "/confirm", "/initialize", "/auth/register", "/auth/login"):
        answer = api.organizer.call("POST", path, content=content)
        assert answer.status in (400, 422), (path, answer.status)
    assert api.look(users_event)["available_tickets"] == 1


@pytest.mark.parametrize("content", [b'{"event_id": NaN}', b'{"event_id": 1e400}', b'{"event_id": "\\ud800"}',
                                     b"\xef\xbb\xbf{}", b'{"event_id": "\xff"}', b"[" * 8_000])  # fmt: skip
def test_a_body_that_is_no_json_is_malformed_and_not_an_unknown_event(api: Api, content: bytes) -> None:
    assert api.user().call("POST", "/book", content=content).status in (400, 422)


@pytest.mark.parametrize("number", [b"1e400", b"-1E+999", b"9" * 5_000, b"-" + b"9" * 400 + b".5"])
def test_a_number_of_any_size_is_valid_json_but_no_event(api: Api, number: bytes) -> None:
    answer = api.user().call("POST", "/book", content=b'{"event_id": %b, "quantity": 1}' % number)
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"/event_id"}
    for broken in (b'{"event_id": %b, "a": "\\ud800"}', b'{"event_id": %b,}', b'{"event_id": %b, "a": NaN}'):
        answer = api.user().call("POST", "/book", content=broken % number)
        assert answer.verdict == (400, "malformed_json")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "nonsense"])
def test_a_body_in_a_content_coding_is_refused(api: Api, coding: str) -> None:
    event_id = api.event()
    body = gzip.compress(b'{"event_id": %d}' % event_id)
    answer = api.user().call("POST", "/book", content=body, headers={"Content-Encoding": coding})
    assert answer.status in (400, 415)
    assert api.look(event_id)["available_tickets"] == 1


STRANGE_PATHS: dict[str, Callable[[int], str]] = {
    "a dot": lambda event_id: f"/events/{event_id}/./booking",
    "a NUL": lambda event_id: f"/status/{event_id}%00",
    "invalid UTF-8": lambda event_id: f"/status/%C0%AE{event_id}",
    "a long path": lambda _: "/status/" + "9" * 6_000,
    "a long query": lambda event_id: f"/status/{event_id}x?" + "a=b&" * 1_500,
    "a way up": lambda _: "/static/..%2f..%2f..%2fetc%2fpasswd",
    "a template": lambda _: "/events/{id}",
}


@pytest.mark.parametrize("kind", sorted(STRANGE_PATHS))
def test_a_path_with_unusual_characters_is_not_found(api: Api, kind: str) -> None:
    path = STRANGE_PATHS[kind](api.event())
    answer = api.raw_connection.send(f"GET {path} HTTP/1.1")
    assert answer.status == 404


@pytest.mark.parametrize("digits", ["\u0967", "\uff11", "\u00b2", "1_000", "0x1", " 1", "1 "])
def test_non_ascii_digits_are_no_id(api: Api, digits: str) -> None:
    assert api.anyone.get(f"/status/{digits}").verdict == (404, "event_not_found")


def test_a_connection_is_usable_after_bad_input(api: Api) -> None:
    event_id = api.event(available_tickets=50)
    for value in VALUES[:20]:
        api.user().call("POST", "/book", content=b'{"event_id": %s}' % value)
        assert api.user().book(event_id).status == 201
