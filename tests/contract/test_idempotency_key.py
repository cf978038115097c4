"""The header Idempotency-Key itself: what may be in it, and whose it is."""

import pytest

from .client import replayed
from .house import House

KEY_CHARACTERS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"\\')


def test_a_key_is_the_users_own_and_the_events_own(house: House) -> None:
    one, other = house.event(available_tickets=5), house.event(available_tickets=5)
    first, second = house.users(2)
    answers = [first.book(one, key="k"), second.book(one, key="k"), first.book(other, key="k")]
    assert [answer.status for answer in answers] == [201, 201, 201]
    assert len({answer.data["id"] for answer in answers}) == 3
    assert not [answer for answer in answers if "idempotent-replayed" in answer.headers]


def test_a_key_is_the_same_quoted_and_bare(house: House) -> None:
    event_id = house.event()
    user = house.user()
    first = user.book(event_id, key="order-1")
    assert replayed(user.book(event_id, key='"order-1"'), first)


@pytest.mark.parametrize("key", ["k", "k" * 255, '"' + "k" * 255 + '"', KEY_CHARACTERS, "8e03978e-40d5-43e8-bc93"])
def test_a_key_of_1_to_255_visible_characters_is_taken(house: House, key: str) -> None:
    event_id = house.event()
    user = house.user()
    first = user.book(event_id, key=key)
    assert first.status == 201
    assert replayed(user.book(event_id, key=key), first)


@pytest.mark.parametrize(
    "key", [b"", b'""', b"k" * 256, b"two words", "clé".encode(), b"cl\xe9", b"k\tk", b"k" * 4_000]
)
def test_any_other_key_is_named_as_the_fault(house: House, key: bytes) -> None:
    event_id = house.event()
    user = house.user()
    for answer in (user.book(event_id, key=key), user.cancel(event_id, key=key), user.confirm(event_id, key=key)):
        assert answer.verdict == (422, "invalid_request")
        assert answer.pointers == {"Idempotency-Key"}
    assert house.look(event_id)["available_tickets"] == 1


def test_a_bad_key_is_listed_with_the_other_faults(house: House) -> None:
    answer = house.user().post("/book", {"event_id": "1"}, key="k" * 256)
    assert answer.pointers == {"Idempotency-Key", "/event_id"}
