"""Slow, endless, idle and many clients: incomplete requests are cut off, and other clients are served."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.service import RunningService, running_service
from tests.fixtures.waiting import eventually_async
from tests.processes.connections import RawConnection, descriptors, lines, look, may_open, open_sale, request

SLOW = 500
IDLE = 10_000
REQUEST_SECONDS_MAX = 10
"""How long a request may take to arrive (contract)."""

SPARE_FILES = 500
"""Files that a process opens besides its connections."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    may_open(IDLE + SPARE_FILES)  # before it starts: it inherits the bound
    with running_service(tmp_path_factory.mktemp("slow") / "data", {"BOOKING_RATE_LIMIT": "off"}) as running:
        yield running


async def buy(service: RunningService, line: RawConnection, event_id: int, users: range, name: str) -> None:
    """Buys for each user, one after another."""
    for number in users:
        line.writer.write(request("POST", "/book", service.token(f"{name}-{number}"), {"event_id": event_id}))
        status, _, body = await line.answer()
        assert status == 201, body


async def test_500_clients_that_send_a_byte_a_second_are_cut_off_and_others_served(service: RunningService) -> None:
    event_id = open_sale(service)
    worker = service.parts()["worker-1"]
    before = descriptors(worker)
    loop = asyncio.get_running_loop()
    async with lines(service.base_url, SLOW) as slow, lines(service.base_url, 1) as (quick,):
        began = loop.time()
        ends = [asyncio.create_task(line.end()) for line in slow]
        sent = bought = 0
        while not all(end.done() for end in ends):
            assert loop.time() - began < 6 * REQUEST_SECONDS_MAX, "a byte a second extends the deadline"
            for line in slow:
                if not line.writer.is_closing():
                    line.writer.write(b"POST /book HTTP/1.1\r\nX-Slow: yes, very\r\n"[sent : sent + 1] or b"y")
            sent += 1
            await buy(service, quick, event_id, range(bought, bought + 20), "quick")
            bought += 20
            await asyncio.sleep(1)
        assert loop.time() - began > REQUEST_SECONDS_MAX, "a client was cut off before the contract's time"
        assert not any(end.result().startswith(b"HTTP/1.1 2") for end in ends), "an incomplete request succeeded"
        assert look(service, event_id)["tickets_sold"] == bought
    await eventually_async(lambda: descriptors(worker) <= before + 5, "their connections are closed")


@pytest.mark.parametrize("pause", [0, 0.2], ids=["as fast as it can", "slowly"])
async def test_a_chunked_body_without_an_end_is_refused_or_cut_off(service: RunningService, pause: float) -> None:
    event_id = open_sale(service)
    token = service.token("endless")
    head = f"POST /book HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with lines(service.base_url, 2) as (endless, quick):
        endless.writer.write(head.encode())
        ended = asyncio.create_task(endless.end())
        chunk = b"400\r\n" + b" " * 1_024 + b"\r\n" if not pause else b"1\r\n \r\n"
        async with asyncio.timeout(60):
            while not ended.done():
                if not endless.writer.is_closing():
                    endless.writer.write(chunk)
                await asyncio.sleep(pause)
        # The refusal is lost if the connection is reset while chunks are still on their way.
        refusal = await ended
        assert not refusal or refusal.split()[1] in (b"408", b"413"), refusal
        await buy(service, quick, event_id, range(1), f"beside-{pause}")
    assert look(service, event_id)["tickets_sold"] == 1


async def test_10_000_idle_connections_do_not_stop_buyers(service: RunningService) -> None:
    if not may_open(IDLE + SPARE_FILES):
        pytest.skip(f"the system lets no process open {IDLE + SPARE_FILES} files here (ulimit -Hn)")
    event_id = open_sale(service)
    async with lines(service.base_url, IDLE) as idle, lines(service.base_url, 1) as (late,):
        worker = service.parts()["worker-1"]
        await eventually_async(lambda: descriptors(worker) > IDLE, "each of them is accepted")
        await buy(service, late, event_id, range(50), "late")
        for line in (idle[0], idle[IDLE // 2], idle[-1]):  # idle clients are served, too
            await buy(service, line, event_id, range(1), f"idle-{id(line)}")
    assert look(service, event_id)["tickets_sold"] == 53


def test_a_service_raises_its_limit_of_open_files(service: RunningService) -> None:
    """The soft bound of most systems is 1,024: the service raises its own as far as it may."""
    limits = Path(f"/proc/{service.parts()['worker-1']}/limits").read_text()
    (soft, hard) = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3:5]
    assert soft == hard
