"""A run in which a process, the service or the database fails."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from booking.domain.changes import ChangeKind, EventChange, ShardBatch
from booking.domain.model import Rules
from booking.ledger import Ledger, migrate
from booking.loadtest.calls import Kind
from booking.loadtest.checks import event_after
from booking.loadtest.organizer import Organizer, UnusableServiceError
from booking.loadtest.player import LoadProcessError
from booking.loadtest.records import Fault, Findings, Verdict
from booking.loadtest.run import run
from tests.fixtures.servers import listening
from tests.loadtest.lying_service import SECRET, Lie, LyingService, serving
from tests.loadtest.sale import PLAN, organizer_of, show_nothing
from tests.loadtest.test_history import HONEST

SMALL = replace(PLAN, buyers=10, tickets=5, connections=2)


@pytest.mark.parametrize("program", ["/bin/false", "/bin/cat"])
async def test_a_load_process_that_dies_is_reported(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("booking.loadtest.player.sys.executable", program)
    async with serving(LyingService()) as url:
        with pytest.raises(LoadProcessError, match="a load process died"):
            await run(replace(SMALL, url=url), SECRET, organizer_of(url), None, 1.0, show_nothing)


async def test_a_database_that_cannot_be_read_is_a_note_and_not_a_fault(tmp_path: Path) -> None:
    address = f"sqlite+aiosqlite:///{tmp_path / 'none' / 'booking.sqlite3'}"
    async with serving(LyingService()) as url:
        outcome = await run(replace(SMALL, url=url), SECRET, organizer_of(url), address, 0.1, show_nothing)
    assert outcome.clean
    assert outcome.database_note.startswith("the database can't be read")


async def test_a_database_that_the_sale_never_reached_makes_no_booking_lost(tmp_path: Path) -> None:
    address = f"sqlite+aiosqlite:///{tmp_path / 'booking.sqlite3'}"
    await migrate(address)
    service = LyingService()
    async with serving(service) as url:
        outcome = await run(replace(SMALL, url=url), SECRET, organizer_of(url), address, 0.1, show_nothing)
    assert outcome.findings.counts == {Fault.NOT_YET: service.seq}
    assert "if it is this service's database" in outcome.findings.examples[Fault.NOT_YET][0]


@pytest.fixture
async def just_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database that has the new event, and whose persister then stopped."""
    monkeypatch.setattr("booking.loadtest.run.secrets.token_hex", lambda _: "cafe")
    address = f"sqlite+aiosqlite:///{tmp_path / 'booking.sqlite3'}"
    await migrate(address)
    ledger = Ledger.open(address)
    await ledger.initialize_shards(["epoch"])
    created = EventChange(1, 1, ChangeKind.CREATED, 0, Rules(name="Load test cafe", capacity=SMALL.tickets))
    await ledger.apply([ShardBatch(0, "epoch", "0-0", "1-0", (created,))])
    await ledger.close()
    return address


async def test_sql_equals_redis_only_if_it_has_the_event_s_last_change(just_opened: str) -> None:
    service = LyingService()
    async with serving(service) as url:
        outcome = await run(replace(SMALL, url=url), SECRET, organizer_of(url), just_opened, 0.1, show_nothing)
    assert outcome.caught_up is not None
    assert (outcome.caught_up.reached, outcome.caught_up.seq, outcome.caught_up.redis_seq) == (False, 1, service.seq)
    assert outcome.findings.counts == {Fault.NOT_YET: service.seq - 1}
    assert f"SQL is at change 1, Redis was at change {service.seq}" in outcome.findings.examples[Fault.NOT_YET][0]
    assert outcome.findings.verdict is Verdict.INCOMPLETE


async def test_acknowledged_changes_of_a_killed_service_are_late_and_not_lost(
    just_opened: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("booking.loadtest.organizer.SETTLE_SECONDS_MAX", 0.1)
    phases: set[str] = set()
    plan = replace(SMALL, buyers=200, rate=400.0, seconds_max=1.0, cancel_share=0.0)
    async with serving(LyingService(Lie.DIES)) as url:
        outcome = await run(
            replace(plan, url=url), SECRET, organizer_of(url), just_opened, 0.1, lambda phase, *_: phases.add(phase)
        )
    assert outcome.event == {}
    assert outcome.caught_up is not None
    assert (outcome.caught_up.reached, outcome.caught_up.seq, outcome.caught_up.redis_seq) == (False, 1, None)
    # Change 1 created the event, and the service ended at change 40.
    assert outcome.findings.counts == {Fault.UNSETTLED: 1, Fault.NOT_YET: 39}
    assert "SQL is at change 1, Redis could not be asked" in outcome.findings.examples[Fault.NOT_YET][0]
    assert outcome.findings.verdict is Verdict.INCOMPLETE
    assert outcome.figures.seconds_away > 0
    assert outcome.figures.latencies[Kind.READ].count == 0
    assert "reading" not in phases


async def test_another_service_s_database_is_a_note_and_not_a_fault(tmp_path: Path) -> None:
    address = f"sqlite+aiosqlite:///{tmp_path / 'booking.sqlite3'}"
    await migrate(address)
    ledger = Ledger.open(address)
    await ledger.initialize_shards(["epoch"])
    await ledger.apply([ShardBatch(0, "epoch", "0-0", "8-0", HONEST)])
    await ledger.close()
    async with serving(LyingService()) as url:
        outcome = await run(replace(SMALL, url=url), SECRET, organizer_of(url), address, 0.1, show_nothing)
    assert outcome.clean
    assert outcome.database_note.startswith("the database is another service's")


async def test_a_service_that_ends_after_the_sale_leaves_it_unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("booking.loadtest.organizer.SETTLE_SECONDS_MAX", 0.1)
    async with serving(LyingService()) as url:
        pass
    findings = Findings()
    assert await event_after(organizer_of(url), SMALL, findings) == {}
    assert findings.counts == {Fault.UNSETTLED: 1}


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (b"HTTP/1.1 403 X\r\nContent-Length: 26\r\n\r\n" + b'{"detail": "no organizer"}', "403 no organizer"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nhi", "200 without a reason"),
        (b"HTTP/1.1 201 X\r\nContent-Length: 2\r\n\r\n{}", "names no event"),
        (b"HTTP/1.1 201 X\r\nContent-Length: 2\r\n\r\nhi", "names no event"),
        (b"220 smtp\r\n\r\n", "can't be reached"),
    ],
)
async def test_a_service_that_opens_no_sale_is_unusable(answer: bytes, line: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with listening(serve) as port:
        organizer = Organizer(f"http://127.0.0.1:{port}", "token")
        with pytest.raises(UnusableServiceError, match=line):
            await asyncio.to_thread(organizer.open_sale, "a sale", 1, 4)


async def test_an_event_that_is_not_shown_is_unusable() -> None:
    async with serving(LyingService()) as url:
        with pytest.raises(UnusableServiceError, match="does not show the event"):
            await asyncio.to_thread(organizer_of(url).event, 9)
