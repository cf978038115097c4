"""The catalogue of failures is complete, and every refusal of a script finds its problem."""

import pytest

from booking.domain.outcomes import FIRST_REFUSAL, UNCHANGED, EventOutcome, Status
from booking.web.endpoints.sale import REFUSALS, SUCCESSES
from booking.web.problems import KINDS, Fault, Problem, invalid, pointer_to
from booking.web.responses import problem_response, send_response

CONTRACT = {
    "malformed_json": 400, "unauthenticated": 401, "invalid_credentials": 401, "forbidden": 403, "sale_not_open": 403,
    "sale_closed": 403, "sale_paused": 403, "not_found": 404, "event_not_found": 404, "booking_not_found": 404,
    "method_not_allowed": 405, "already_booked": 409, "sold_out": 409, "waitlist_full": 409, "still_waiting": 409,
    "email_taken": 409, "has_live_bookings": 409, "capacity_below_sold": 409, "hold_expired": 410,
    "precondition_failed": 412,
    "body_too_large": 413, "unsupported_media_type": 415, "invalid_request": 422, "quantity_over_limit": 422,
    "idempotency_key_reused": 422, "rate_limited": 429,
    "internal_error": 500, "inventory_unavailable": 503, "outcome_unknown": 503, "overloaded": 503,
}  # fmt: skip
OF_EVENTS = {Status.CREATED, Status.CHANGED, Status.MORE_TO_CHANGE, *UNCHANGED}
OF_ORGANIZERS = {Status.CAPACITY_BELOW_SOLD, Status.WINDOW_INVERTED, Status.DATES_INVERTED, Status.EVENT_EXISTS}


def test_every_code_of_the_contract_has_its_status() -> None:
    assert {code: KINDS[code].status for code in CONTRACT} == CONTRACT


@pytest.mark.parametrize("code", sorted(KINDS))
def test_every_code_is_explained_in_sentences(code: str) -> None:
    kind = KINDS[code]
    assert kind.title
    assert not kind.title.endswith(".")
    assert kind.detail.endswith(".")
    assert kind.advice.endswith(".")
    assert kind.advice != kind.detail


@pytest.mark.parametrize("code", sorted(KINDS))
def test_every_retryable_problem_has_a_retry_after(code: str) -> None:
    headers = dict(Problem(code).headers)
    assert (b"retry-after" in headers) == (KINDS[code].status in (429, 503))


def test_a_problems_own_retry_after_overrides_its_codes() -> None:
    problem = Problem("rate_limited", headers=[(b"retry-after", b"7")])
    assert problem.headers == [(b"retry-after", b"7")]


@pytest.mark.parametrize(
    "status", [status for status in Status if status >= FIRST_REFUSAL and status not in OF_ORGANIZERS]
)
def test_every_refusal_of_a_sale_has_its_problem(status: Status) -> None:
    code = REFUSALS[status]
    assert code in KINDS
    assert code == ("overloaded" if status is Status.LEDGER_BEHIND else status.name.lower())


@pytest.mark.parametrize("status", [status for status in Status if status < FIRST_REFUSAL and status not in OF_EVENTS])
def test_every_success_of_a_sale_has_its_answer(status: Status) -> None:
    code, message = SUCCESSES[status]
    assert 200 <= code < 300
    assert message


def test_no_status_is_both_a_success_and_a_refusal() -> None:
    assert set(SUCCESSES).isdisjoint(REFUSALS)
    assert EventOutcome(Status.EVENT_NOT_FOUND).event is None


def test_a_single_fault_is_the_detail_and_several_are_counted() -> None:
    one, other = Fault("/a", "a is wrong."), Fault("/b", "b is wrong.")
    assert invalid(one).detail == "a is wrong."
    assert invalid(one, other).detail == "The request has 2 faults."
    assert invalid(one, other).faults == [one, other]


def test_a_pointer_escapes_what_rfc_6901_asks_for() -> None:
    assert pointer_to("a/b", "m~n", 3) == "/a~1b/m~0n/3"
    assert pointer_to() == ""


async def test_a_problems_own_headers_go_out_with_those_of_the_call() -> None:
    sent = []

    async def send(message: object) -> None:
        sent.append(message)

    problem = problem_response(Problem("overloaded"), "an-id", "", (b"idempotent-replayed", b"true"))
    await send_response({}, send, problem)
    headers = dict(sent[0]["headers"])  # type: ignore[index]  # an ASGI message
    assert headers[b"idempotent-replayed"] == b"true"
    assert b"retry-after" in headers
