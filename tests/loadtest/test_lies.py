"""Each wrong answer is found, and trouble without a wrong answer is clean."""

from dataclasses import replace

import pytest

from booking.loadtest.records import Fault, Verdict
from tests.loadtest.lying_service import Lie, LyingService
from tests.loadtest.sale import PLAN, answers_of, play, play_here

LIES = {
    Lie.OVERSELLS: Fault.OVERSOLD,
    Lie.DOUBLE_BOOKS: Fault.DOUBLE_BOOKED,
    Lie.SELLS_ONE_BOOKING_TWICE: Fault.DOUBLE_BOOKED,
    Lie.FORGETS_A_BOOKING: Fault.LOST,
    Lie.FORGETS_A_CANCEL: Fault.LOST,
    Lie.TAKES_TICKETS_BACK: Fault.LOST,
    Lie.SERVES_THE_LAST_FIRST: Fault.INVERSION,
    Lie.LETS_NEWCOMERS_PASS: Fault.INVERSION,
    Lie.PUTS_JOINERS_IN_FRONT: Fault.INVERSION,
    Lie.KEEPS_A_FREED_TICKET: Fault.IDLE,
    Lie.MISCOUNTS: Fault.DISAGREEMENT,
    Lie.SHOWS_THE_PAST: Fault.DISAGREEMENT,
    Lie.FAILS: Fault.UNEXPECTED,
    Lie.TALKS_NONSENSE: Fault.UNEXPECTED,
    Lie.SELLS_NOTHING: Fault.NO_SALE,
    Lie.LIMITS_EVERYBODY: Fault.NO_SALE,
}
TROUBLES = [lie for lie in Lie if lie not in LIES and lie is not Lie.DIES]
TROUBLE_SHOWS_AS = {
    Lie.IS_BUSY: "503 inventory_unavailable",
    Lie.LOSES_ANSWERS: "503 outcome_unknown",
    Lie.DROPS_CONNECTIONS: "connection lost",
    Lie.LIMITS_RATES: "429 rate_limited",
    Lie.TURNS_SOME_AWAY: "503 overloaded",
}


@pytest.mark.parametrize("lie", LIES, ids=str)
async def test_each_lie_is_found(lie: Lie) -> None:
    # Enough buyers repeat a call for one of them to be booked twice.
    _, findings = await play_here(LyingService(lie), replace(PLAN, buyers=1_000) if lie is Lie.DOUBLE_BOOKS else PLAN)
    assert findings.counts.get(LIES[lie], 0) > 0
    assert findings.examples[LIES[lie]]


@pytest.mark.parametrize("idempotent", [False, True], ids=["without keys", "with keys"])
@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
async def test_trouble_that_loses_nothing_is_clean(trouble: Lie, idempotent: bool) -> None:
    service = LyingService(trouble)
    workload, findings = await play_here(service, replace(PLAN, idempotent=idempotent))
    assert findings.examples == {}
    assert service.event()["tickets_sold"] == PLAN.tickets
    if trouble in TROUBLE_SHOWS_AS:
        assert answers_of(workload, TROUBLE_SHOWS_AS[trouble]) > 0


@pytest.mark.parametrize("quantity_max", [1, 4])
@pytest.mark.parametrize("processes", [1, 2])
async def test_a_correct_sale_is_clean_and_sells_out(processes: int, quantity_max: int) -> None:
    outcome = await play(LyingService(), replace(PLAN, processes=processes, quantity_max=quantity_max))
    assert outcome.clean
    assert outcome.findings.examples == {}
    assert outcome.buyers_sent == PLAN.buyers
    assert 0 <= PLAN.tickets - outcome.event["tickets_sold"] < quantity_max


async def test_findings_of_a_load_process_are_in_the_verdict() -> None:
    outcome = await play(LyingService(Lie.FAILS))
    assert outcome.findings.counts[Fault.UNEXPECTED] > 0
    assert not outcome.clean


@pytest.mark.parametrize("lie", [Lie.SELLS_NOTHING, Lie.LIMITS_EVERYBODY], ids=str)
async def test_a_service_that_sells_nothing_is_not_clean(lie: Lie) -> None:
    _, findings = await play_here(LyingService(lie), replace(PLAN, buyers=10))
    assert findings.counts == {Fault.NO_SALE: 10}
    assert findings.verdict is Verdict.NO_SALE


async def test_a_sale_whose_only_buyer_cancels_still_counts_as_a_sale() -> None:
    service = LyingService()
    _, findings = await play_here(service, replace(PLAN, buyers=10, cancel_share=1.0))
    assert service.event()["tickets_sold"] == 0
    assert findings.examples == {}
