"""Runs sales for the tests of the load test."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from booking.auth.tokens import sign_token
from booking.loadtest.calls import Call
from booking.loadtest.generator import Generator
from booking.loadtest.organizer import Organizer
from booking.loadtest.plan import Plan, draw_intents
from booking.loadtest.process import pacing
from booking.loadtest.records import Findings, user_id
from booking.loadtest.run import Outcome, run
from booking.loadtest.verdict import judge
from booking.loadtest.workload import SaleWorkload
from tests.loadtest.lying_service import SECRET, LyingService, serving

PLAN = Plan(
    url="",
    event_id=0,
    tickets=60,
    buyers=300,
    cancel_share=0.2,
    status_share=0.2,
    quantity_max=1,
    connections=8,
    rate=None,
    seconds_max=30.0,
    timeout_seconds=5.0,
    processes=1,
    seed=3,
    idempotent=False,
)

STARTED_AT = datetime(2026, 11, 23, 7, tzinfo=UTC)


def show_nothing(phase: str, process: int, answers: int, latest: list[list[int]]) -> None:
    """No progress bar."""


def organizer_of(url: str) -> Organizer:
    """The organizer of the lying service."""
    return Organizer(url, sign_token(SECRET.encode(), "organizer", "organizer", 3_600))


def workload_of(plan: Plan) -> SaleWorkload:
    """All buyers of a sale, with tokens that the lying service accepts."""
    intents = dict(enumerate(draw_intents(plan)))
    tokens = {index: sign_token(SECRET.encode(), user_id(index), None, 3_600).encode() for index in intents}
    return SaleWorkload(plan, intents, tokens)


async def drive(plan: Plan, workload: SaleWorkload, on_tick: Callable[[], None] = lambda: None) -> Generator[Call]:
    """Runs a workload to its end in this process."""
    generator = Generator(pacing(plan, 0, plan.rate, plan.seconds_max), workload)
    await asyncio.to_thread(generator.run, on_tick)
    return generator


async def play(service: LyingService, plan: Plan = PLAN) -> Outcome:
    """Runs a sale as the command does, in several processes."""
    async with serving(service) as url:
        return await run(replace(plan, url=url), SECRET, organizer_of(url), None, 2.0, show_nothing)


async def play_here(service: LyingService, plan: Plan = PLAN) -> tuple[SaleWorkload, Findings]:
    """Runs the same sale in this process, which is faster. Returns its workload and the verdict."""
    service.open("Load test", plan.tickets)
    async with serving(service) as url:
        plan = replace(plan, url=url, event_id=1)
        workload = workload_of(plan)
        await drive(plan, workload)
        event = service.event()
        workload.read_back()
        await drive(replace(plan, rate=None, seconds_max=30.0), workload)
    findings = judge(plan.tickets, [record for record in workload.recorder.buyers.values() if record.seen], event)
    findings.merge(workload.recorder.findings)
    return workload, findings


def answers_of(workload: SaleWorkload, what: str) -> int:
    """How often an answer was given, over all calls."""
    return sum(count for (_, answered), count in workload.recorder.results.items() if answered == what)
