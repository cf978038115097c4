"""What payment providers tell: Stripe's events, each of which is one atomic step."""

import re
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Receive, Scope

from booking.domain.callers import user_id_fault
from booking.domain.changes import STRIPE as STRIPE_ACTOR
from booking.inventory.box_office import UNLIMITED, Acting, BoxOffice, Decision
from booking.web.headers import fields_of
from booking.web.problems import Problem
from booking.web.request_schemas import PAYMENT_ID, PAYMENT_ID_CHARACTERS_MAX
from booking.web.requests import USER, event_id_of, read_body
from booking.web.responses import PlainResponse, success
from booking.web.stripe_signature import is_signed

STRIPE = "/payments/stripe"

STRIPE_BODY_BYTES_MAX = 64 * 1024
"""The largest event (contract)."""

IGNORED = "ignored"
"""The outcome of an event that does not concern a booking here; another outcome is a status of the atomic step."""

PAID, ENDED = "checkout.session.completed", ("checkout.session.expired", "payment_intent.payment_failed")
"""The events that are acted on. All others are ignored: an endpoint may be subscribed to any."""


class PaymentEndpoints:
    """`/payments/*`. The provider repeats an event until it is answered with 2xx."""

    def __init__(self, office: BoxOffice, stripe_secret: str) -> None:
        self._office = office
        self._stripe_secret = stripe_secret.encode()

    async def stripe(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /payments/stripe`. An event comes to the same however often and in whatever order it is told."""
        scope[USER] = STRIPE_ACTOR
        body = await read_body(scope, receive, STRIPE_BODY_BYTES_MAX)
        if not is_signed(self._stripe_secret, fields_of(scope).get(b"stripe-signature", b""), body):
            raise Problem("invalid_signature")
        try:
            event = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise Problem("malformed_json") from None
        step = self._step(event)
        if step is None:
            return PlainResponse(200, success("Event ignored.", {"outcome": IGNORED}))
        outcome = await step
        return PlainResponse(200, success("Event received.", {"outcome": outcome.status.name.lower()}))

    def _step(self, event: Any) -> Decision | None:
        """What has to be done; None if the event does not concern a booking here."""
        kind, told = _text(event, "type"), _object(_object(event, "data"), "object")
        metadata = _object(told, "metadata")
        event_id = event_id_of(_text(metadata, "event_id"))
        user_id, payment_id = _text(metadata, "user_id"), _text(metadata, "payment_id")
        is_payment = len(payment_id) <= PAYMENT_ID_CHARACTERS_MAX and re.fullmatch(PAYMENT_ID, payment_id)
        if event_id is None or user_id_fault(user_id) is not None or not is_payment:
            return None
        acting = Acting(STRIPE_ACTOR, UNLIMITED)
        if kind == PAID and told.get("payment_status") == "paid":
            return self._office.confirm(event_id, user_id, None, acting, payment_id, late=True)
        if kind in ENDED:
            return self._office.cancel(event_id, user_id, acting=acting, payment_id=payment_id)
        return None


def _object(value: Any, name: str) -> Mapping[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _text(value: Any, name: str) -> str:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""
