"""The hot path: book, check out, confirm and cancel, from the request to its response."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from math import ceil
from time import monotonic
from typing import Any

from starlette.types import Receive, Scope, Send

from booking.domain.callers import Caller
from booking.domain.model import Booking
from booking.domain.outcomes import FIRST_REFUSAL, IdempotencyKey, Outcome, Status
from booking.domain.payment_links import PaymentLinks
from booking.inventory.box_office import Acting, BoxOffice, Decision, RateLimit
from booking.web.authentication import Credentials
from booking.web.local_limits import ALL_EVENTS_TIMES, LocalBuckets
from booking.web.organizers import require_owner
from booking.web.problems import KINDS, Fault, Problem, invalid
from booking.web.rate_limits import rate_limited
from booking.web.request_schemas import (
    BookRequest,
    CancelRequest,
    CheckoutRequest,
    CommandRequest,
    ConfirmRequest,
    validate,
)
from booking.web.requests import REQUEST_ID, USER, parse_json, read_body, read_idempotency_key, require_json
from booking.web.responses import Header, PlainResponse, booking_data, problem_response, send_response, success
from booking.web.times import to_text

Decide = Callable[[BoxOffice, Any, str, IdempotencyKey | None, Acting | None], Decision]
"""Asks for one atomic step: the order, the user that it is about, the caller's key, and the caller if another one."""

SERVICE_TIMES = 100
"""A service's buckets are this many times as large as a user's (contract)."""

SUCCESSES: dict[Status, tuple[int, str]] = {
    Status.BOOKED: (201, "Ticket booked successfully"),
    Status.HELD: (201, "Ticket booked successfully"),
    Status.JOINED: (202, "No tickets available. User added to waiting list."),
    Status.ALREADY_WAITING: (202, "No tickets available. User added to waiting list."),
    Status.CHECKED_OUT: (200, "Checkout started."),
    Status.CONFIRMED: (200, "Booking confirmed successfully."),
    Status.CANCELLED: (200, "Booking canceled successfully."),
    Status.LEFT: (200, "Removed from the waiting list."),
    Status.REDUCED: (200, "Tickets given back."),
}
REFUSALS: dict[Status, str] = {
    **{status: status.name.lower() for status in Status if status.name.lower() in KINDS},
    Status.LEDGER_BEHIND: "overloaded",
}
REFUSED = "refused:"
"""Prefix of the fields of an event in Redis that count refusals. The number of the status follows the prefix."""
CREATED = 201
NO_EVENT = 0
"""The event id of the rate limit's bucket for calls that name no event."""
ORDERS_MAX = 256
"""Validated bodies that are kept, of up to 16 KiB each; those of a sale's buyers have 20 bytes."""
REPLAYED = (b"idempotent-replayed", b"true")


def refusals_of(stored: Mapping[str, int]) -> dict[str, int]:
    """The number of refused calls of an event, by problem code. `stored` are the event's fields in Redis."""
    counted: Counter[str] = Counter()
    for name, count in stored.items():
        if name.startswith(REFUSED):
            counted[REFUSALS[Status(int(name.removeprefix(REFUSED)))]] += count
    return dict(counted)


class SaleEndpoints:
    """The endpoints of the four commands."""

    def __init__(
        self, credentials: Credentials, office: BoxOffice, limit: RateLimit | None, links: PaymentLinks
    ) -> None:
        common = credentials, office, Buckets(limit), links
        self.book = CommandEndpoint(*common, BookRequest, _book)
        self.cancel = CommandEndpoint(*common, CancelRequest, _cancel)
        self.checkout = CommandEndpoint(*common, CheckoutRequest, _check_out)
        self.confirm = CommandEndpoint(*common, ConfirmRequest, _confirm)


class Buckets:
    """The limits of users' and services' commands: those of one event are in Redis, those of all events in memory."""

    def __init__(self, limit: RateLimit | None) -> None:
        """If `limit`, a user's on one event, is None, there are no limits."""
        self.users = limit
        self.services = None if limit is None else limit.times(SERVICE_TIMES)
        self.users_all_events = _all_events(self.users)
        self.services_all_events = _all_events(self.services)


def _all_events(limit: RateLimit | None) -> LocalBuckets:
    return LocalBuckets(None if limit is None else limit.times(ALL_EVENTS_TIMES), "all-events")


class CommandEndpoint:
    """One command: it checks credentials, then the body, then runs one atomic step that begins with the rate limit."""

    def __init__(
        self,
        credentials: Credentials,
        office: BoxOffice,
        buckets: Buckets,
        links: PaymentLinks,
        payload: type[CommandRequest],
        decide: Decide,
    ) -> None:
        self._credentials = credentials
        self._office = office
        self._buckets = buckets
        self._links = links
        self._charge_all_events = buckets.users_all_events.charge
        self._payload = payload
        self._decide = decide

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. It sends its response itself, because each coroutine in between costs a booking 1 %."""
        caller = self._credentials.caller_now(scope) or await self._credentials.caller(scope)
        scope[USER] = caller.user_id
        if caller.service:
            self._buckets.services_all_events.charge(caller.user_id)
        else:
            self._charge_all_events(caller.user_id)
        body = b""
        faults: list[Fault] = []
        try:
            require_json(scope)
            body = await read_body(scope, receive)
            key = read_idempotency_key(scope, faults)
            order = _read_order(self._payload, body, faults) if faults else _order_of(self._payload, body)
            if caller.service and not order.user_id:
                raise invalid(Fault("/user_id", "A service has to name the user for whom it calls."))
        except Problem:
            await self._charge(body, caller)
            raise
        acting = None
        if caller.service or order.user_id not in ("", caller.user_id):
            acting = await self._acting(scope, caller, order.event_id)
        outcome = await self._decide(self._office, order, order.user_id or caller.user_id, key, acting)
        headers: list[Header] = [REPLAYED] if outcome.first_request_id else []
        booking = outcome.booking
        if booking is None or outcome.status >= FIRST_REFUSAL:
            request_id = outcome.first_request_id or scope[REQUEST_ID]
            problem = self._problem(outcome, self._buckets.services if caller.service else self._buckets.users)
            response = problem_response(problem, request_id, scope.get("root_path", ""), *headers)
            await send_response(scope, send, response)
            return
        status, message = SUCCESSES[outcome.status]
        if status == CREATED:
            root = scope.get("root_path", "")
            headers.append((b"location", f"{root}/events/{booking.event_id}/booking".encode()))
        data = booking_data(booking)
        if outcome.status is Status.CHECKED_OUT:
            data["payment_url"] = self._link(outcome.payment_url, booking)
        await send_response(scope, send, PlainResponse(status, success(message, data), *headers))

    def _link(self, template: str | None, booking: Booking) -> str | None:
        """The link behind which a hold is paid for; None if its event has none, or if nothing is left to pay."""
        if template is None or booking.payment_id is None:
            return None
        return self._links.link(template, booking.event_id, booking.user_id, booking.payment_id)

    async def _acting(self, scope: Scope, caller: Caller, event_id: int) -> Acting:
        """The caller, who may act for another user. Raises Problem (403) if they may not."""
        if caller.service:
            return Acting(caller.user_id, SERVICE_TIMES)
        asked_at = monotonic()
        caller = await self._credentials.caller(scope, recheck=True)  # the role must be current
        if not caller.organizer:
            raise Problem("forbidden", "Only the event's organizer or a service may act for another user.")
        if not caller.admin:
            require_owner(caller, await self._office.get_event(event_id))
        return Acting(caller.user_id, asked_at=asked_at)

    async def _charge(self, body: bytes, caller: Caller) -> None:
        """Applies the rate limit to a call that does not reach the atomic step.

        The rate limit comes before the faults of a body. Raises Problem (429) if the bucket is empty.
        """
        of_event = NO_EVENT
        with suppress(Problem):
            value = parse_json(body, [])
            if isinstance(value, dict) and type(value.get("event_id")) is int:
                of_event = value["event_id"]
        limit, times = (self._buckets.services, SERVICE_TIMES) if caller.service else (self._buckets.users, 1)
        wait_ms = await self._office.take_token(of_event, caller.user_id, times)
        if wait_ms and limit is not None:
            raise rate_limited("booking", limit, wait_ms)

    def _problem(self, outcome: Outcome, limit: RateLimit | None) -> Problem:
        status = outcome.status
        if status is Status.RATE_LIMITED and limit is not None:
            return rate_limited("booking", limit, outcome.wait_ms)
        if status is Status.ALREADY_BOOKED and outcome.booking is not None:
            return Problem("already_booked", data={"booking": booking_data(outcome.booking)})
        if status is Status.SALE_NOT_OPEN:
            retry_after = ceil((outcome.opens_at_ms - outcome.now_ms) / 1000)
            return Problem(
                "sale_not_open",
                data={"opens_at": to_text(outcome.opens_at_ms), "server_time": to_text(outcome.now_ms)},
                headers=[(b"retry-after", b"%d" % retry_after)],
            )
        return Problem(REFUSALS[status])


def _read_order(payload: type[CommandRequest], body: bytes, faults: list[Fault]) -> CommandRequest:
    """The validated body. Raises Problem with all its faults, and with `faults`."""
    return validate(payload, parse_json(body, faults), faults)


@lru_cache(maxsize=ORDERS_MAX)
def _order_of(payload: type[CommandRequest], body: bytes) -> CommandRequest:
    """As `_read_order`. Most buyers of a sale send the same bytes, so an order without a fault is cached."""
    return _read_order(payload, body, [])


def _book(
    office: BoxOffice, order: BookRequest, user_id: str, key: IdempotencyKey | None, acting: Acting | None
) -> Decision:
    """`POST /book`."""
    return office.book(order.event_id, user_id, order.quantity, key, acting)


def _cancel(
    office: BoxOffice, order: CancelRequest, user_id: str, key: IdempotencyKey | None, acting: Acting | None
) -> Decision:
    """`POST /cancel`."""
    return office.cancel(order.event_id, user_id, order.quantity or None, key, acting, order.reason)


def _check_out(
    office: BoxOffice, order: CheckoutRequest, user_id: str, key: IdempotencyKey | None, acting: Acting | None
) -> Decision:
    """`POST /checkout`."""
    return office.check_out(order.event_id, user_id, key, acting)


def _confirm(
    office: BoxOffice, order: ConfirmRequest, user_id: str, key: IdempotencyKey | None, acting: Acting | None
) -> Decision:
    """`POST /confirm`."""
    return office.confirm(order.event_id, user_id, key, acting, order.payment_id, order.late)
