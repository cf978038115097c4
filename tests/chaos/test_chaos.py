"""A short selection of what `scripts/chaos` does for hours, and proof that its oracle sees what it is there to see."""

from collections.abc import Callable
from pathlib import Path

import pytest

from booking.domain.changes import BookingChange, Change, ChangeKind, EventChange
from booking.domain.model import BookingStatus, Rules, Source
from booking.inventory.reader import InventoryReader
from tests.chaos.client import START_SECONDS_MAX
from tests.chaos.faults import FAULTS
from tests.chaos.oracle import Verdict, judge, replayed
from tests.chaos.play import Game, fault_of
from tests.chaos.players import Memory
from tests.chaos.world import open_world
from tests.fixtures.postgres import running_postgres
from tests.fixtures.spine import open_spine
from tests.fixtures.stock import SHARDS

SEED = 20_261_124
SELECTION = ("kill-worker", "kill-redis", "flushall", "kill-persister", "script-flush")
EVENT = 1
PATIENCE_SECONDS = 300
"""For a whole game on a busy machine."""


@pytest.mark.timeout(PATIENCE_SECONDS)
async def test_whatever_breaks_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    async with open_world(None, 2, tmp_path, answer_seconds=START_SECONDS_MAX) as world:
        game = Game(world, SEED, SELECTION, seconds=1.0)
        violations = await game.play(lambda number: number < len(SELECTION), lambda _: None)
    assert violations == [], f"seed {SEED}"
    assert set(game.sums) == set(SELECTION)
    assert all(one.acknowledged for one in game.sums.values())
    assert set(world.kills) == {"worker", "redis", "persister"}


@pytest.mark.timeout(PATIENCE_SECONDS)
async def test_a_postgresql_that_is_stopped_and_a_clock_that_goes_back_lose_nothing(tmp_path: Path) -> None:
    faults = ("postgres-stopped", "clock-back")
    with running_postgres() as postgres:
        async with open_world(postgres.url("postgres"), 2, tmp_path, postgres, START_SECONDS_MAX) as world:
            game = Game(world, SEED, faults, seconds=1.0)
            violations = await game.play(lambda number: number < len(faults), lambda _: None)
    assert violations == [], f"seed {SEED}"
    assert all(game.sums[fault].acknowledged for fault in faults)


async def test_the_oracle_sees_a_booking_that_is_lost_and_one_that_is_made_twice(
    clean_valkey: str, tmp_path: Path
) -> None:
    """As a persister that drops an entry, and a script that skips a guard, would leave it."""
    async with open_spine(clean_valkey, f"sqlite:///{tmp_path / 'booking.sqlite3'}", tmp_path) as spine:
        await spine.stock.sale(EVENT)
        booked = await spine.stock.office.book(EVENT, "ann")
        assert booked.booking is not None
        await spine.drain()
        room = InventoryReader(spine.settings.redis_address, SHARDS)
        told = Memory(EVENT, booked={booked.booking.number}, attempts=1)
        sound = await judge(room, spine.ledger, [EVENT], [("ann", told)])
        assert sound == Verdict()
        told.booked.add(999_999)
        lost = await judge(room, spine.ledger, [EVENT], [("ann", told)])
        assert (lost.lost, lost.doubled) == (1, 0)
        doubled = await judge(room, spine.ledger, [EVENT], [("ann", Memory(EVENT, attempts=0))])
        assert (doubled.lost, doubled.doubled) == (0, 1)
        async with spine.ledger._writing() as connection:
            await connection.exec_driver_sql("DELETE FROM bookings")
        assert (await judge(room, spine.ledger, [EVENT], [])).faults, "Redis and SQL differ"
        await room.close()


def booking(seq: int, kind: ChangeKind, user: str, number: int, quantity: int = 1) -> BookingChange:
    return BookingChange(EVENT, seq, kind, 0, number, user, quantity, BookingStatus.CONFIRMED, Source.SALE, 0, None)


OPENED = EventChange(EVENT, 1, ChangeKind.CREATED, 0, Rules("chaos", 2, 4))
SOUND: list[Change] = [
    OPENED,
    booking(2, ChangeKind.BOOKED, "ann", 2, 2),
    booking(3, ChangeKind.JOINED, "bob", 3, 2),
    booking(4, ChangeKind.JOINED, "cid", 4),
    booking(5, ChangeKind.CANCELLED, "ann", 2, 2),
    booking(6, ChangeKind.PROMOTED, "bob", 3, 2),
]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda c: c, None),
        (lambda c: [*c[:3], *c[4:]], "seq 5 where 4 was due"),
        (lambda c: [*c, booking(7, ChangeKind.PROMOTED, "cid", 4)], "3 of 2 tickets"),
        (lambda c: [*c[:5], booking(6, ChangeKind.PROMOTED, "cid", 4)], "not the head"),
        (lambda c: [*c[:5], booking(6, ChangeKind.BOOKED, "dan", 6)], "overtook"),
        (lambda c: [*c, booking(7, ChangeKind.JOINED, "bob", 7)], "two live bookings"),
    ],
)
def test_the_oracle_sees_what_a_history_may_not_have(spoil: Callable[[list[Change]], list[Change]], said: str) -> None:
    faults = replayed(spoil(SOUND))
    assert (faults == []) if said is None else any(said in fault for fault in faults), faults


def test_every_fault_says_what_it_does() -> None:
    assert all(fault.__doc__ for fault in FAULTS.values())


def test_a_seed_decides_the_order_of_the_faults_and_each_has_its_turn() -> None:
    faults = list(FAULTS)
    one, same, other = (
        [fault_of(seed, number, faults) for number in range(2 * len(faults))] for seed in (SEED, SEED, SEED + 1)
    )
    assert one == same
    assert one != other
    assert sorted(one[: len(faults)]) == sorted(one[len(faults) :]) == sorted(faults)
