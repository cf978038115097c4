"""More users than the scripts read and write in one piece, compared with the model.

A call reads the waiting list 100 users at a time, loads up to 1,000 records and writes up to 4,000 arguments at once;
it expires at most 150 tickets, prunes at most 1,000 users and adds at most 800 tickets.
"""

from collections.abc import Sequence

from booking.domain.model import Rules
from tests.model.match import Arena
from tests.model.steps import Book, Cancel, Change, Command, Confirm, Look, Pass, Scenario, Step, Together

AT_ONCE = 500
CROWD = [f"user-{n}" for n in range(2_300)]
HOLD_MS = 2_000


def at_once(commands: Sequence[Command]) -> list[Step]:
    """Puts the commands into as few batches as the queue allows."""
    return [Together(tuple(commands[at : at + AT_ONCE])) for at in range(0, len(commands), AT_ONCE)]


def rules(capacity: int, hold_seconds: int = 0) -> tuple[Rules]:
    return (Rules("A", capacity, max_per_user=4, hold_seconds=hold_seconds),)


def test_thousands_are_promoted_by_one_change(arena: Arena) -> None:
    joining = at_once([Book(1, user, 1 + n % 3) for n, user in enumerate(CROWD)])
    arena.play(Scenario(rules(5), [*joining, Change(1, {"capacity": 4_700}), Cancel(1, CROWD[7])]))
    assert arena.steps == len(CROWD) + 3


def test_thousands_of_holds_end_at_once_and_thousands_move_up(arena: Arena) -> None:
    joining = at_once([Book(1, user, 1) for user in CROWD])
    ending: list[Step] = [Pass(HOLD_MS), Look(1), Pass(HOLD_MS), Look(1), Book(1, "late", 2), Look(1)]
    arena.play(Scenario(rules(1_150, HOLD_MS // 1000), [*joining, *ending]))
    assert arena.steps == len(CROWD) + 1 + len(ending)


def test_groups_leave_whole_if_the_capacity_becomes_too_small_for_them(arena: Arena) -> None:
    joining = at_once([Book(1, user, 1 + n % 4) for n, user in enumerate(CROWD)])
    smaller: list[Step] = [Cancel(1, CROWD[0]), Change(1, {"capacity": 3}), Change(1, {"capacity": 40})]
    arena.play(Scenario(rules(4), [*joining, *smaller, *at_once([Cancel(1, user) for user in CROWD[:900]])]))
    assert arena.steps > len(CROWD)


def test_one_call_promotes_more_than_one_piece_and_then_changes_those_users(arena: Arena) -> None:
    joining = at_once([Book(1, user, 1) for user in CROWD[:600]])
    leaving = at_once([Cancel(1, user) for user in CROWD[:400]])
    confirming = at_once([Confirm(1, user) for user in CROWD[300:600]])
    arena.play(Scenario(rules(30, HOLD_MS // 1000), [*joining, *leaving, Pass(HOLD_MS), *confirming, Look(1)]))
    assert arena.steps == 1 + 600 + 400 + 1 + 300 + 1
