"""What a request brings: its body in the contract's order of checks, its idempotency key, its page of a list."""

from typing import Any

import pytest

from booking.web.problems import Fault, Problem
from booking.web.requests import (
    BODY_BYTES_MAX,
    KEY_BYTES_MAX,
    REQUEST_ID,
    ClientGone,
    event_id_of,
    read_idempotency_key,
    read_json,
    read_page,
)
from tests.web.asgi import body, receiving, scope


def posting(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {**scope("POST", "/book", headers), REQUEST_ID: "an-id"}


async def read(request: dict[str, Any], receive: Any) -> Any:
    faults: list[Fault] = []
    value = await read_json(request, receive, faults)
    assert faults == []
    return value


async def refusal(request: dict[str, Any], *parts: bytes) -> Problem:
    with pytest.raises(Problem) as raised:
        await read(request, receiving(*body(*parts)))
    return raised.value


@pytest.mark.parametrize(
    "media_type",
    [b"application/json", b"Application/JSON ; charset=utf-8", b"application/problem+json", b"application/vnd.x+json"],
)
async def test_json_by_any_of_its_names_is_read(media_type: bytes) -> None:
    request = posting((b"content-type", media_type))
    assert await read(request, receiving(*body(b'{"event_id": 1}'))) == {"event_id": 1}


@pytest.mark.parametrize(
    "media_type", [b"", b"text/plain", b"text/json", b"application/jsonp", b"json", b"image/x+json"]
)
async def test_another_media_type_is_refused_before_anything_is_read(media_type: bytes) -> None:
    request = posting((b"content-type", media_type), (b"content-length", b"99999"))
    assert (await refusal(request, b"{")).code == "unsupported_media_type"


async def test_a_body_in_parts_is_joined_and_needs_no_media_type() -> None:
    assert await read(posting(), receiving(*body(b'{"a"', b":", b"", b" [1,", b"2]}"))) == {"a": [1, 2]}


async def test_a_body_of_just_the_limit_is_read_and_one_byte_more_is_not() -> None:
    text = b'"' + b"x" * (BODY_BYTES_MAX - 2) + b'"'
    assert len(await read(posting(), receiving(*body(text)))) == BODY_BYTES_MAX - 2
    for request, parts in (
        (posting(), [text + b" "]),
        (posting(), [text, b" "]),
        (posting((b"content-length", b"%d" % (BODY_BYTES_MAX + 1))), [b"{}"]),
    ):
        problem = await refusal(request, *parts)
        assert problem.code == "body_too_large"
        assert (b"connection", b"close") in problem.headers


async def test_an_endless_body_is_not_read_to_its_end() -> None:
    read = 0

    async def endless() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 1_000, "more_body": True}

    with pytest.raises(Problem, match="body_too_large"):
        await read_json(posting(), endless, [])
    assert read == BODY_BYTES_MAX // 1_000 + 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"{}{}",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"{'a': 1}",
        b"NaN",
        b'"\\ud800"',
        b"[" * 9_000,
    ],
)
async def test_a_body_that_is_no_json_is_malformed(text: bytes) -> None:
    assert (await refusal(posting(), text)).code == "malformed_json"


async def test_a_repeated_name_is_listed_with_the_other_faults() -> None:
    faults = [Fault("Idempotency-Key", "is odd")]
    text = b'{"a": 1, "b/c": {"d": 1, "d": 2}, "\\u0061": 2, "b/c": 3}'
    await read_json(posting(), receiving(*body(text)), faults)
    assert [fault.pointer for fault in faults] == ["Idempotency-Key", "/a", "/b~1c", "/b~1c/d"]
    assert await read(posting(), receiving(*body(b'{"a": "x:y::", "b": {"a": 2}}'))) == {
        "a": "x:y::", "b": {"a": 2},
    }  # fmt: skip


async def test_a_client_that_disconnects_is_not_answered() -> None:
    for messages in ([], [{"type": "http.request", "body": b'{"event', "more_body": True}]):
        with pytest.raises(ClientGone):
            await read(posting(), receiving(*messages))


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (b"a", "a"), (b'"a"', "a"), (b"  a  ", "a"), (b'"', '"'), (b'""a"', '"a'), (b"!~", "!~"),
        (b"x" * KEY_BYTES_MAX, "x" * KEY_BYTES_MAX), (b'"' + b"x" * KEY_BYTES_MAX + b'"', "x" * KEY_BYTES_MAX),
    ],
)  # fmt: skip
def test_an_idempotency_key_is_taken_quoted_or_bare(header: bytes, key: str) -> None:
    faults: list[Fault] = []
    found = read_idempotency_key(posting((b"idempotency-key", header)), faults)
    assert found is not None
    assert (found.key, found.request_id, faults) == (key, "an-id", [])


@pytest.mark.parametrize(
    "headers", [[b""], [b'""'], [b"a b"], [b"\xc3\xa9"], [b"x" * (KEY_BYTES_MAX + 1)], [b"a", b"a"], [b"a\x00"]]
)
def test_an_idempotency_key_that_is_none_is_a_fault(headers: list[bytes]) -> None:
    faults: list[Fault] = []
    assert read_idempotency_key(posting(*((b"idempotency-key", header) for header in headers)), faults) is None
    assert [fault.pointer for fault in faults] == ["Idempotency-Key"]


def test_no_idempotency_key_is_no_fault() -> None:
    faults: list[Fault] = []
    assert read_idempotency_key(posting(), faults) is None
    assert faults == []


@pytest.mark.parametrize("text", ["1", "10", "9" * 15])
def test_an_events_id_is_its_decimal_writing(text: str) -> None:
    assert event_id_of(text) == int(text)


@pytest.mark.parametrize("text", ["", "0", "01", "-1", "+1", "1.0", "1e3", " 1", "\u0661", "\u00b2", "9" * 16, "abc"])
def test_a_value_that_no_event_can_have_is_no_id(text: str) -> None:
    assert event_id_of(text) is None


@pytest.mark.parametrize(
    ("query", "limit", "starting_after"),
    [(b"", 20, None), (b"limit=1", 1, None), (b"limit=100&starting_after=7", 100, 7), (b"other=1", 20, None)],
)
def test_a_page_is_read_from_the_query(query: bytes, limit: int, starting_after: int | None) -> None:
    page = read_page(scope(query=query), event_id_of)
    assert (page.limit, page.starting_after) == (limit, starting_after)


@pytest.mark.parametrize("query", [b"limit=0", b"limit=101", b"limit=", b"limit=-1", b"limit=1000", b"limit=%D9%A1"])
def test_a_limit_out_of_bounds_is_a_fault(query: bytes) -> None:
    with pytest.raises(Problem) as raised:
        read_page(scope(query=query), event_id_of)
    assert raised.value.faults is not None
    assert [fault.pointer for fault in raised.value.faults] == ["?limit"]


def test_every_fault_of_a_query_is_listed() -> None:
    with pytest.raises(Problem) as raised:
        read_page(scope(query=b"limit=0&starting_after=x"), event_id_of)
    assert raised.value.faults is not None
    assert [fault.pointer for fault in raised.value.faults] == ["?limit", "?starting_after"]
