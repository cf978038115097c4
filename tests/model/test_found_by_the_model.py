"""The smallest scenarios of differences that the search once found between the scripts and the model."""

from booking.domain.model import Rules
from booking.domain.outcomes import IdempotencyKey
from tests.model.match import Arena
from tests.model.steps import START_MS, Book, Cancel, Change, Confirm, Create, Look, Pass, Scenario, Step, Together

ONE_HELD = (Rules("A", capacity=1, max_per_user=4, hold_seconds=1),)
LATE = START_MS + 500


def test_a_user_promoted_and_cancelling_in_one_call_leaves_no_hold(arena: Arena) -> None:
    both = Together((Cancel(1, "ann"), Cancel(1, "bob")))
    arena.play(Scenario(ONE_HELD, [Book(1, "ann", 1), Book(1, "bob", 1), both, Pass(1000), Look(1)]))
    assert arena.steps == 7


def test_a_user_promoted_by_expiry_who_confirms_in_that_call_keeps_the_ticket(arena: Arena) -> None:
    promoted: list[Step] = [Book(1, "ann", 1), Book(1, "bob", 1), Pass(1000), Confirm(1, "bob")]
    arena.play(Scenario(ONE_HELD, [*promoted, Pass(5000), Look(1), Cancel(1, "bob")]))
    assert arena.steps == 8


def test_a_user_promoted_by_expiry_who_cancels_in_that_call_leaves_no_hold(arena: Arena) -> None:
    promoted: list[Step] = [Book(1, "ann", 1), Book(1, "bob", 1), Pass(1000), Cancel(1, "bob")]
    arena.play(Scenario(ONE_HELD, [*promoted, Pass(5000), Look(1), Book(1, "cy", 1)]))
    assert arena.steps == 8


def test_an_event_that_closes_before_it_opens_is_refused_by_the_create_script(arena: Arena) -> None:
    arena.play(Scenario(ONE_HELD, [Create(2, Rules("B", 1, opens_at_ms=LATE, closes_at_ms=LATE)), Look(2)]))
    assert arena.steps == 3


def test_a_refused_change_has_still_removed_the_expired_holds(arena: Arena) -> None:
    refused = Change(1, {"opens_at": LATE, "closes_at": LATE})
    arena.play(Scenario(ONE_HELD, [Book(1, "ann", 1), Pass(1000), refused, Change(1, {"capacity": 2})]))
    assert arena.steps == 5


def test_a_refusal_of_a_clock_ahead_counts_again_once_its_time_has_come(arena: Arena) -> None:
    ahead: list[Step] = [Pass(500), Cancel(1, "ann", key=IdempotencyKey("K", "r")), Pass(-500)]
    later: list[Step] = [
        Book(1, "ann", 1, IdempotencyKey("L", "s")),
        Pass(2000),
        Book(1, "ann", 1, IdempotencyKey("K", "t")),
    ]
    arena.play(Scenario(ONE_HELD, [*ahead, *later]))
    assert arena.steps == 7


def test_an_outlived_refusal_is_forgotten_although_the_clock_goes_back(arena: Arena) -> None:
    refused: list[Step] = [Cancel(1, "ann", key=IdempotencyKey("K", "r")), Pass(600_000)]
    stored: list[Step] = [Cancel(1, "ann", key=IdempotencyKey("L", "s")), Pass(-500)]
    arena.play(Scenario(ONE_HELD, [*refused, *stored, Cancel(1, "ann", key=IdempotencyKey("K", "t"))]))
    assert arena.steps == 6
