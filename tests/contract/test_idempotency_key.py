"""The header Idempotency-Key: its valid values and its scope."""

import pytest

from .api import Api
from .client import replayed

KEY_CHARACTERS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"\\')


def test_a_key_is_scoped_to_its_user_and_event(api: Api) -> None:
    one, other = api.event(available_tickets=5), api.event(available_tickets=5)
    first, second = api.users(2)
    answers = [first.book(one, key="k"), second.book(one, key="k"), first.book(other, key="k")]
    assert [answer.status for answer in answers] == [201, 201, 201]
    assert len({answer.data["id"] for answer in answers}) == 3
    assert not [answer for answer in answers if "idempotent-replayed" in answer.headers]


def test_a_key_is_the_same_quoted_and_bare(api: Api) -> None:
    event_id = api.event()
    user = api.user()
    first = user.book(event_id, key="order-1")
    assert replayed(user.book(event_id, key='"order-1"'), first)


@pytest.mark.parametrize("key", ["k", "k" * 255, '"' + "k" * 255 + '"', KEY_CHARACTERS, "8e03978e-40d5-43e8-bc93"])
def test_a_key_of_1_to_255_visible_characters_is_accepted(api: Api, key: str) -> None:
    event_id = api.event()
    user = api.user()
    first = user.book(event_id, key=key)
    assert first.status == 201
    assert replayed(user.book(event_id, key=key), first)


@pytest.mark.parametrize(
    "key", [b"", b'""', b"k" * 256, b"two words", "clé".encode(), b"cl\xe9", b"k\tk", b"k" * 4_000]
)
def test_any_other_key_is_a_named_fault(api: Api, key: bytes) -> None:
    event_id = api.event()
    user = api.user()
    for answer in (user.book(event_id, key=key), user.cancel(event_id, key=key), user.confirm(event_id, key=key)):
        assert answer.verdict == (422, "invalid_request")
        assert answer.pointers == {"Idempotency-Key"}
    assert api.look(event_id)["available_tickets"] == 1


def test_a_bad_key_is_listed_with_the_other_faults(api: Api) -> None:
    answer = api.user().post("/book", {"event_id": "1"}, key="k" * 256)
    assert answer.pointers == {"Idempotency-Key", "/event_id"}
