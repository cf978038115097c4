"""Refunds: the payments of an event that came too late for their tickets, for its organizer, who marks each as done."""

import re
from collections.abc import Mapping

from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope

from booking.domain.model import Event
from booking.inventory.box_office import BoxOffice
from booking.ledger import refunds
from booking.ledger.ledger import Ledger
from booking.ledger.records import AccountEmail
from booking.ledger.refunds import Refund
from booking.operations.read_your_writes import ReadYourWrites
from booking.web.authentication import Credentials
from booking.web.endpoints.lists import Turns
from booking.web.local_limits import LocalBuckets
from booking.web.organizers import require_organizer, require_owner
from booking.web.problems import Fault, Problem, invalid
from booking.web.request_schemas import PAYMENT_ID_CHARACTERS_MAX, RefundRequest, validate
from booking.web.requests import USER, not_in_list, read_event_id, read_json, read_page
from booking.web.response_schemas import RefundData
from booking.web.responses import PlainResponse, success
from booking.web.times import to_text

DONE = {"due": False, "done": True}
"""The values of `status`."""

OWN_PAYMENT_ID = "^[A-Za-z0-9_-]+$"
"""The ids of payments that the service has given out: by a checkout, or those of holds that had none."""


class RefundEndpoints:
    """`/events/{event_id}/refunds`. What is listed and marked includes what was acknowledged before the request."""

    def __init__(
        self,
        credentials: Credentials,
        office: BoxOffice,
        ledger: Ledger,
        read_your_writes: ReadYourWrites,
        reads: LocalBuckets,
        turns: Turns,
    ) -> None:
        self._credentials = credentials
        self._office = office
        self._ledger = ledger
        self._read_your_writes = read_your_writes
        self._reads = reads
        self._turns = turns

    async def index(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's signature
        """`GET /events/{event_id}/refunds`: the newest first."""
        event = await self._own_event(scope)
        faults: list[Fault] = []
        status = QueryParams(scope["query_string"]).get("status")
        if status is not None and status not in DONE:
            faults.append(Fault("?status", f"status has to be one of {', '.join(DONE)}."))
        page = read_page(scope, payment_id_of, faults)
        if event is None:
            raise Problem("event_not_found")
        complete = await self._read_your_writes.reach(event.id)
        async with self._turns.of(scope[USER]):
            done = None if status is None else DONE[status]
            found = await refunds.page(self._ledger, event.id, page.limit + 1, page.starting_after, done=done)
            emails = await self._ledger.emails_of(refund.user_id for refund in found or ())
        if found is None:
            raise invalid(not_in_list())
        data = [refund_data(refund, emails) for refund in found[: page.limit]]
        body = success("Fetched refunds", data, has_more=len(found) > page.limit, up_to_date=complete)
        return PlainResponse(200, body)

    async def change(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`PATCH /events/{event_id}/refunds/{payment_id}`. The time of the first call stays."""
        event = await self._own_event(scope)
        faults: list[Fault] = []
        wanted = validate(RefundRequest, await read_json(scope, receive, faults), faults)
        if event is None:
            raise Problem("event_not_found")
        payment_id = payment_id_of(scope["path_params"]["payment_id"])
        if payment_id is None:
            raise Problem("refund_not_found")
        await self._read_your_writes.reach(event.id)
        at_ms = event.now_ms if wanted.done else None
        refund = await refunds.mark(self._ledger, event.id, payment_id, at_ms, scope[USER])
        if refund is None:
            raise Problem("refund_not_found")
        data = refund_data(refund, await self._ledger.emails_of([refund.user_id]))
        return PlainResponse(200, success("Refund updated successfully", data))

    async def _own_event(self, scope: Scope) -> Event | None:
        """The event; None if there is none. Raises Problem if it is not the caller's."""
        caller = await require_organizer(self._credentials, scope)
        self._reads.charge(caller.user_id)
        event = await self._office.get_event(read_event_id(scope))
        require_owner(caller, event)
        return event


def payment_id_of(text: str) -> str | None:
    """The payment's id in `text`; None if it is none."""
    return text if len(text) <= PAYMENT_ID_CHARACTERS_MAX and re.fullmatch(OWN_PAYMENT_ID, text) else None


def refund_data(refund: Refund, emails: Mapping[str, AccountEmail]) -> RefundData:
    """The JSON of a refund."""
    data: RefundData = {
        "payment_id": refund.payment_id,
        "booking_id": f"{refund.event_id}-{refund.number}",
        "user_id": refund.user_id,
        "quantity": refund.quantity,
        "due_at": to_text(refund.due_at_ms),
        "done_at": None if refund.done_at_ms is None else to_text(refund.done_at_ms),
        "done_by": refund.done_by,
    }
    if refund.user_id in emails:
        data["email"] = emails[refund.user_id].email
    return data
