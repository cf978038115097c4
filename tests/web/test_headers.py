"""A request's header fields by their names."""

import pytest

from booking.web.headers import fields_of

from .asgi import Pairs, scope


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ([], {}),
        ([(b"host", b"x"), (b"accept", b"*/*")], {b"host": b"x", b"accept": b"*/*"}),
        ([(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"a", b"")], {b"a": b"1, 3, ", b"b": b"2"}),
    ],
    ids=["none", "each once", "one of them more than once"],
)
def test_header_values_of_one_name_are_joined_in_order(headers: Pairs, fields: dict[bytes, bytes]) -> None:
    request = scope(headers=headers)
    assert fields_of(request) == fields
    assert fields_of(request) is fields_of(request), "worked out once"
    assert request["headers"] == list(headers), "and what came stays as it came"


@pytest.mark.timeout(20)
def test_many_headers_of_one_name_cost_no_more_than_of_different_names() -> None:
    value = b"x" * 100
    fields = fields_of(scope(headers=[(b"a", value)] * 100_000))
    assert len(fields[b"a"]) == 100_000 * len(b", " + value) - len(b", ")
