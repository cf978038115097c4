"""The real service sells without a fault, also while its processes are killed."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from booking.loadtest.organizer import Organizer
from booking.loadtest.player import ShowProgress
from booking.loadtest.run import Outcome, run
from booking.settings import Settings
from tests.fixtures.service import RunningService, running_service
from tests.loadtest.sale import PLAN, show_nothing

SALE = replace(PLAN, tickets=150, buyers=900, connections=32, timeout_seconds=20.0)
SQL_SECONDS_MAX = 30.0
"""How long SQL may take to catch up on a busy machine. The time is measured, not promised, here."""


async def play_for_real(service: RunningService, show: ShowProgress, **changed: Any) -> Outcome:
    organizer = Organizer(service.url, service.token("organizer", "organizer"))
    database = Settings(data_dir=service.data_dir).database_address
    plan = replace(SALE, url=service.url, **changed)
    return await run(plan, service.secret, organizer, database, SQL_SECONDS_MAX, show)


async def test_the_service_sells_out_without_a_fault_and_sql_has_every_change(service: RunningService) -> None:
    outcome = await play_for_real(service, show_nothing)
    assert outcome.findings.examples == {}
    assert outcome.caught_up is not None, outcome.database_note
    assert outcome.caught_up.reached
    assert outcome.caught_up.seq == outcome.caught_up.redis_seq == outcome.event["seq"]
    assert outcome.event["tickets_sold"] == SALE.tickets
    assert outcome.buyers_sent == SALE.buyers


@pytest.mark.parametrize("idempotent", [False, True], ids=["without keys", "with keys"])
async def test_the_sale_has_no_fault_if_a_worker_and_the_persister_are_killed(tmp_path: Path, idempotent: bool) -> None:
    killed: list[str] = []
    with running_service(tmp_path / "data", {"BOOKING_WORKERS": "2"}) as service:

        def kill(phase: str, process: int, answers: int, latest: list[list[int]]) -> None:
            for part, after in (("worker-1", 100), ("persister", 500)):
                if phase == "selling" and answers > after and part not in killed:
                    killed.append(part)
                    service.kill(part)

        # At this rate the sale lasts for several reports of its progress, however fast the machine is.
        outcome = await asyncio.wait_for(play_for_real(service, kill, idempotent=idempotent, rate=500.0), 90)
    assert killed == ["worker-1", "persister"]
    assert outcome.findings.examples == {}
    assert outcome.caught_up is not None, outcome.database_note
    assert outcome.caught_up.reached
    assert outcome.event["tickets_sold"] == SALE.tickets
