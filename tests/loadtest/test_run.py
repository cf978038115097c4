"""What a run does when something around it fails."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from booking.domain.changes import ShardBatch
from booking.ledger import Ledger, migrate
from booking.loadtest.opening import Organizer, UnusableServiceError
from booking.loadtest.player import LoadProcessError
from booking.loadtest.records import Fault, Findings
from booking.loadtest.run import event_after, run
from tests.loadtest.lying_service import SECRET, LyingService, serving
from tests.loadtest.sale import PLAN, organizer_of, show_nothing
from tests.loadtest.test_history import HONEST

SMALL = replace(PLAN, buyers=10, tickets=5, connections=2)


@pytest.mark.parametrize("program", ["/bin/false", "/bin/cat"])
async def test_a_load_process_that_dies_is_told_so(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_a_database_that_the_sale_never_reached_is_a_fault(tmp_path: Path) -> None:
    address = f"sqlite+aiosqlite:///{tmp_path / 'booking.sqlite3'}"
    await migrate(address)
    async with serving(LyingService()) as url:
        outcome = await run(replace(SMALL, url=url), SECRET, organizer_of(url), address, 0.1, show_nothing)
    assert outcome.caught_up is not None
    assert not outcome.caught_up.reached
    assert outcome.findings.counts[Fault.DISAGREEMENT] > 0
    assert outcome.findings.counts[Fault.LOST] > 0


async def test_another_service_s_database_is_a_note_and_not_a_fault(tmp_path: Path) -> None:
    address = f"sqlite+aiosqlite:///{tmp_path / 'booking.sqlite3'}"
    await migrate(address)
    ledger = Ledger.open(address)
    await ledger.found_shards(["epoch"])
    await ledger.apply([ShardBatch(0, "epoch", "0-0", "8-0", HONEST)])
    await ledger.close()
    async with serving(LyingService()) as url:
        outcome = await run(replace(SMALL, url=url), SECRET, organizer_of(url), address, 0.1, show_nothing)
    assert outcome.clean
    assert outcome.database_note.startswith("the database is another service's")


async def test_a_service_that_is_gone_after_the_sale_leaves_it_unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("booking.loadtest.opening.STILL_SECONDS_MAX", 0.1)
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

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    organizer = Organizer(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "token")
    try:
        with pytest.raises(UnusableServiceError, match=line):
            await asyncio.to_thread(organizer.open_sale, "a sale", 1, 4)
    finally:
        server.close()
        await server.wait_closed()


async def test_an_event_that_is_not_shown_is_unusable() -> None:
    async with serving(LyingService()) as url:
        with pytest.raises(UnusableServiceError, match="does not show the event"):
            await asyncio.to_thread(organizer_of(url).event, 9)
