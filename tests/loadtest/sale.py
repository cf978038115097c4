"""How the tests here play a sale."""

from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter_ns

from booking.auth.tokens import sign_token
from booking.loadtest.crowd import Crowd
from booking.loadtest.opening import Organizer
from booking.loadtest.pace import Pace
from booking.loadtest.plan import Plan, intents
from booking.loadtest.records import Findings, user_id
from booking.loadtest.run import Outcome, run
from booking.loadtest.verdict import judge
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
    """The organizer of a lying service."""
    return Organizer(url, sign_token(SECRET.encode(), "organizer", "organizer", 3_600))


def crowd_of(plan: Plan) -> Crowd:
    """All buyers of a sale, with tokens that a lying service accepts."""
    minds = dict(enumerate(intents(plan)))
    tokens = {index: sign_token(SECRET.encode(), user_id(index), None, 3_600).encode() for index in minds}
    return Crowd(plan, minds, tokens)


async def drive(plan: Plan, crowd: Crowd) -> Pace:
    """Drives a crowd until it is finished, in this process."""
    pace = Pace(plan, 0, crowd, plan.rate, plan.seconds_max)
    await pace.run(perf_counter_ns(), lambda: None)
    return pace


async def play(service: LyingService, plan: Plan = PLAN) -> Outcome:
    """Plays a sale as the command does, in processes of its own."""
    async with serving(service) as url:
        return await run(replace(plan, url=url), SECRET, organizer_of(url), None, 2.0, show_nothing)


async def play_here(service: LyingService, plan: Plan = PLAN) -> tuple[Crowd, Findings]:
    """Plays the same sale in this process, which is quicker: what its crowd knows then, and the verdict."""
    service.open("Load test", plan.tickets)
    async with serving(service) as url:
        plan = replace(plan, url=url, event_id=1)
        crowd = crowd_of(plan)
        await drive(plan, crowd)
        event = service.event()
        crowd.read_back()
        await drive(replace(plan, rate=None, seconds_max=30.0), crowd)
    findings = judge(plan.tickets, [record for record in crowd.notes.buyers.values() if record.seen], event)
    findings.merge(crowd.notes.findings)
    return crowd, findings


def answers_of(crowd: Crowd, what: str) -> int:
    """How often something was answered, whatever was asked."""
    return sum(count for (_, answered), count in crowd.notes.answers.items() if answered == what)
