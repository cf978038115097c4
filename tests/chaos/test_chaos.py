"""A short run of `scripts/chaos`, and tests that its oracle finds faults."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from booking.domain.changes import BookingChange, Change, ChangeKind, EventChange
from booking.domain.model import BookingStatus, Rules, Source
from booking.inventory.keys import shard_of
from booking.inventory.reader import InventoryReader
from tests.chaos.buyers import Memory
from tests.chaos.client import START_SECONDS_MAX
from tests.chaos.deployment import CALLS_PER_SECOND, open_embedded, open_on_cluster, open_on_sentinels
from tests.chaos.failovers import CLUSTER, SENTINEL
from tests.chaos.faults import EMBEDDED, Fault
from tests.chaos.oracle import Verdict, judge, replayed
from tests.chaos.rounds import ChaosRun, fault_of
from tests.chaos.told import Got, faults_of
from tests.fixtures.backend import open_backend
from tests.fixtures.postgres import running_postgres
from tests.fixtures.stock import SHARDS

SEED = 20_261_124
SELECTION = ("kill-worker", "kill-redis", "flushall", "kill-persister", "script-flush")
BUYERS = 8
EVENT = 1
PATIENCE_SECONDS = 300
"""The bound for a whole run on a busy machine."""


@pytest.mark.timeout(PATIENCE_SECONDS)
async def test_no_change_is_lost_or_doubled_after_any_fault(tmp_path: Path) -> None:
    async with open_embedded(None, folder=tmp_path, answer_seconds=START_SECONDS_MAX) as deployment:
        deployment.calls_per_second = CALLS_PER_SECOND
        chaos_run = ChaosRun(deployment, SEED, {name: EMBEDDED[name] for name in SELECTION}, seconds=0.5, buyers=BUYERS)
        violations = await chaos_run.play(lambda number: number < len(SELECTION), lambda _: None)
    assert violations == [], f"seed {SEED}"
    assert set(chaos_run.sums) == set(SELECTION)
    assert all(one.acknowledged for one in chaos_run.sums.values())
    assert set(deployment.kills) == {"worker", "redis", "persister"}


@pytest.mark.timeout(PATIENCE_SECONDS)
async def test_no_change_is_lost_if_postgresql_stops_or_the_clock_goes_back(tmp_path: Path) -> None:
    faults = ("postgres-stopped", "clock-back")
    with running_postgres() as postgres:
        async with open_embedded(postgres.url("postgres"), 2, tmp_path, postgres, START_SECONDS_MAX) as deployment:
            deployment.calls_per_second = CALLS_PER_SECOND
            chaos_run = ChaosRun(
                deployment, SEED, {name: EMBEDDED[name] for name in faults}, seconds=0.5, buyers=BUYERS
            )
            violations = await chaos_run.play(lambda number: number < len(faults), lambda _: None)
    assert violations == [], f"seed {SEED}"
    assert all(chaos_run.sums[fault].acknowledged for fault in faults)


@pytest.mark.timeout(PATIENCE_SECONDS)
@pytest.mark.parametrize(
    ("opened", "faults", "selection"),
    [
        (open_on_cluster, CLUSTER, ("kill-primary", "move-slots")),
        (open_on_sentinels, SENTINEL, ("kill-primary",)),
    ],
    ids=["cluster", "sentinels"],
)
async def test_no_change_of_two_nodes_is_lost_or_doubled_after_a_fault_of_several_servers(
    opened: Any, faults: dict[str, Fault], selection: tuple[str, ...], tmp_path: Path
) -> None:
    with running_postgres() as postgres:
        async with opened(postgres.url("postgres"), 1, tmp_path, postgres, START_SECONDS_MAX) as deployment:
            chaos_run = ChaosRun(deployment, SEED, {name: faults[name] for name in selection}, seconds=1.0)
            violations = await chaos_run.play(lambda number: number < len(selection), lambda _: None)
    assert violations == [], f"seed {SEED}"
    assert all(chaos_run.sums[fault].acknowledged for fault in selection)


async def test_the_oracle_finds_a_lost_booking_and_a_doubled_booking(clean_valkey: str, tmp_path: Path) -> None:
    """As if a persister had dropped an entry, or a script had skipped a check."""
    async with open_backend(clean_valkey, f"sqlite:///{tmp_path / 'booking.sqlite3'}", tmp_path) as backend:
        await backend.stock.sale(EVENT)
        booked = await backend.stock.office.book(EVENT, "ann")
        assert booked.booking is not None
        await backend.drain()
        inventory = InventoryReader(backend.settings.redis_address, SHARDS)
        memory = Memory(EVENT, booked={booked.booking.number}, attempts=1)
        sound = await judge(inventory, backend.ledger, [EVENT], [("ann", memory)])
        assert sound == Verdict()
        memory.booked.add(999_999)
        lost = await judge(inventory, backend.ledger, [EVENT], [("ann", memory)])
        assert (lost.lost, lost.doubled) == (1, 0)
        assert lost.faults
        told = await judge(inventory, backend.ledger, [EVENT], [("ann", memory)], told=[shard_of(EVENT, SHARDS)])
        assert (told.lost, told.faults) == (1, [])
        doubled = await judge(inventory, backend.ledger, [EVENT], [("ann", Memory(EVENT, attempts=0))])
        assert (doubled.lost, doubled.doubled) == (0, 1)
        async with backend.ledger._writing() as connection:
            await connection.exec_driver_sql("DELETE FROM bookings")
        assert (await judge(inventory, backend.ledger, [EVENT], [])).faults, "Redis and SQL differ"
        await inventory.close()


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
        (lambda c: [*c[:3], *c[4:]], "seq 5 instead of 4"),
        (lambda c: [*c, EventChange(EVENT, 90, ChangeKind.CHANGED, 0, Rules("chaos", 2, 4))], None),
        (lambda c: [*c, EventChange(EVENT, 90, ChangeKind.CHANGED, 0, Rules("chaos", 3, 4))], "seq 90 instead of 7"),
        (lambda c: [*c, booking(7, ChangeKind.PROMOTED, "cid", 4)], "3 of 2 tickets"),
        (lambda c: [*c[:5], booking(6, ChangeKind.PROMOTED, "cid", 4)], "without being the head"),
        (lambda c: [*c[:5], booking(6, ChangeKind.BOOKED, "dan", 6)], "overtook"),
        (lambda c: [*c, booking(7, ChangeKind.JOINED, "bob", 7)], "two live bookings"),
        (
            lambda c: [*c, booking(7, ChangeKind.CHECKOUT, "bob", 3, 2), booking(8, ChangeKind.PROMOTED, "cid", 4)],
            "3 of 2",
        ),
        (
            lambda c: [*c, booking(7, ChangeKind.REFUND_DUE, "bob", 2, 2), booking(8, ChangeKind.JOINED, "bob", 8)],
            "two live",
        ),
        (lambda c: [*c, booking(7, ChangeKind.REDUCED, "bob", 3, 1), booking(8, ChangeKind.PROMOTED, "cid", 4)], None),
    ],
)
def test_the_oracle_finds_every_violation_in_a_history(
    spoil: Callable[[list[Change]], list[Change]], said: str
) -> None:
    faults = replayed(spoil(SOUND))
    assert (faults == []) if said is None else any(said in fault for fault in faults), faults


def test_every_fault_has_a_description() -> None:
    assert all(fault.__doc__ for faults in (EMBEDDED, CLUSTER, SENTINEL) for fault in faults.values())


def test_the_seed_decides_the_order_of_the_faults_and_each_has_its_turn() -> None:
    faults = list(EMBEDDED)
    one, same, other = (
        [fault_of(seed, number, faults) for number in range(2 * len(faults))] for seed in (SEED, SEED, SEED + 1)
    )
    assert one == same
    assert one != other
    assert sorted(one[: len(faults)]) == sorted(one[len(faults) :]) == sorted(faults)


@pytest.mark.parametrize(
    ("got", "faults"),
    [
        ({1: {1: {"a"}, 2: {"b"}}}, 0),
        ({1: {1: {"a"}, 2: {"b"}, 3: {"c"}}}, 0),
        ({1: {1: {"a"}}}, 1),
        ({1: {2: {"b"}, 1: {"a"}}}, 1),
        ({1: {1: {"a", "c"}, 2: {"b"}}}, 1),
        ({2: {1: {"a"}, 2: {"b"}}}, 1),
    ],
)
def test_the_oracle_finds_what_a_webhook_was_not_told_or_told_wrongly(got: Got, faults: int) -> None:
    assert len(faults_of(got, {1: [1, 2]})) == faults
