"""Webhooks: an organizer registers, changes, tries and replays them. The outbox's process sends their messages."""

import asyncio
import time
from secrets import token_hex

import orjson
from starlette.types import Receive, Scope

from booking.domain.callers import Caller
from booking.inventory.box_office import BoxOffice
from booking.ledger.ledger import Ledger
from booking.ledger.webhooks import (
    OF_OWNER_MAX,
    Delivery,
    TooManyWebhooks,
    Webhook,
    WebhookLedger,
    kinds_text,
    new_secret,
)
from booking.outbox.addresses import Allowed, Refused, read_url
from booking.outbox.sender import Pool, Sender
from booking.outbox.webhooks import failure_of, head_of, shown
from booking.web.authentication import Credentials
from booking.web.local_limits import LocalBuckets
from booking.web.organizers import require_organizer, require_owner
from booking.web.problems import Fault, Problem, invalid
from booking.web.request_schemas import ReplayRequest, WebhookChange, WebhookRequest, validate
from booking.web.requests import event_id_of, not_in_list, read_body, read_json, read_page
from booking.web.response_schemas import DeliveryData, TestData, WebhookData
from booking.web.responses import PlainResponse, success
from booking.web.times import to_text

OLD_SECRET_MS = 86_400_000
"""How long the secret before a rotation signs, too (contract)."""

TESTS_MAX = 8
"""Test messages of one worker on their way at a time; each may take 10 s."""

ENABLED, DISABLED = "enabled", "disabled"

BY_OWNER = "It was disabled by a call of the API."


class WebhookEndpoints:
    """An organizer sees and changes their own webhooks, an administrator all of them."""

    def __init__(
        self, credentials: Credentials, office: BoxOffice, ledger: Ledger, reads: LocalBuckets, allowed: Allowed
    ) -> None:
        self._credentials = credentials
        self._office = office
        self._ledger = ledger
        self._webhooks = WebhookLedger(ledger)
        self._reads = reads
        self._allowed = allowed
        self._sender = Sender(allowed)
        self._tests = asyncio.Semaphore(TESTS_MAX)

    async def add(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /webhooks`."""
        caller = await self._caller(scope)
        faults: list[Fault] = []
        wanted = validate(WebhookRequest, await read_json(scope, receive, faults), faults)
        self._check_url(wanted.url)
        if wanted.event_id is not None:
            await self._check_event(caller, wanted.event_id)
        webhook = Webhook(
            id=0,
            owner_id=caller.user_id,
            url=wanted.url,
            kinds=frozenset(wanted.kinds),
            event_id=wanted.event_id,
            description=wanted.description,
            secret=new_secret(),
            old_secret=None,
            old_secret_until_ms=None,
            disabled_reason=None,
            created_at_ms=_now_ms(),
        )
        try:
            webhook = await self._webhooks.add(webhook)
        except TooManyWebhooks:
            raise Problem("too_many_webhooks", data={"limit": OF_OWNER_MAX}) from None
        location = f"{scope.get('root_path', '')}/webhooks/{webhook.id}".encode()
        body = success("Webhook created successfully", webhook_data(webhook, with_secret=True))
        return PlainResponse(201, body, (b"location", location))

    async def index(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's signature
        """`GET /webhooks`: the caller's own, newest first; an administrator's list has all."""
        caller = await self._caller(scope)
        page = read_page(scope, event_id_of)
        owner_id = None if caller.admin else caller.user_id
        if page.starting_after is not None:
            last = await self._webhooks.find(page.starting_after)
            if last is None or owner_id not in (None, last.owner_id):
                raise invalid(not_in_list())
        found = await self._webhooks.page(owner_id, page.limit + 1, page.starting_after)
        data = [webhook_data(webhook) for webhook in found[: page.limit]]
        return PlainResponse(200, success("Fetched webhooks", data, has_more=len(found) > page.limit))

    async def get(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's signature
        """`GET /webhooks/{webhook_id}`."""
        _, webhook = await self._webhook(scope)
        return PlainResponse(200, success("Fetched webhook", webhook_data(webhook)))

    async def change(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`PATCH /webhooks/{webhook_id}`."""
        _, webhook = await self._webhook(scope)
        faults: list[Fault] = []
        wanted = validate(WebhookChange, await read_json(scope, receive, faults), faults)
        given = {name: getattr(wanted, name) for name in wanted.model_fields_set}
        if "url" in given:
            self._check_url(wanted.url)
        if "kinds" in given:
            given["kinds"] = kinds_text(wanted.kinds)
        status = given.pop("status", None)
        if status == ENABLED:
            given["disabled_reason"] = None
        elif status == DISABLED and webhook.disabled_reason is None:
            given["disabled_reason"] = BY_OWNER
        changed = _found(await self._webhooks.change(webhook.id, given, repaired=status == ENABLED))
        return PlainResponse(200, success("Webhook updated successfully", webhook_data(changed)))

    async def remove(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`DELETE /webhooks/{webhook_id}`."""
        _, webhook = await self._webhook(scope)
        await read_body(scope, receive)
        await self._webhooks.remove(webhook.id)
        return PlainResponse(200, success("Webhook removed successfully", webhook_data(webhook)))

    async def rotate(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /webhooks/{webhook_id}/rotate`: a new secret; the old one signs, too, for a day."""
        _, webhook = await self._webhook(scope)
        await read_body(scope, receive)
        values = {
            "secret": new_secret(),
            "old_secret": webhook.secret,
            "old_secret_until_ms": _now_ms() + OLD_SECRET_MS,
        }
        changed = _found(await self._webhooks.change(webhook.id, values))
        return PlainResponse(200, success("Secret rotated successfully", webhook_data(changed, with_secret=True)))

    async def test(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /webhooks/{webhook_id}/test`: sends a message now, also if the webhook is disabled."""
        _, webhook = await self._webhook(scope)
        await read_body(scope, receive)
        at_ms = _now_ms()
        message_id = f"{webhook.id}-test-{token_hex(8)}"
        message = {"type": "webhook.test", "timestamp": to_text(at_ms), "data": {"webhook_id": webhook.id}}
        body = orjson.dumps(message)
        try:
            pool = Pool(read_url(webhook.url, self._allowed))
        except Refused as refused:
            raise invalid(Fault("/url", f"url: {refused}")) from None
        async with self._tests:
            answer = await self._sender.send(pool, head_of(webhook, message_id, at_ms, body), body)
        pool.close()
        data: TestData = {
            "message_id": message_id,
            "delivered": failure_of(answer) is None,
            "status": answer.status,
            "error": failure_of(answer),
            "answer": shown(answer.body),
            "duration_ms": round(answer.seconds * 1000),
        }
        return PlainResponse(200, success("Test message sent", data))

    async def replay(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /webhooks/{webhook_id}/replay`: an event's changes after `after` are told once more."""
        caller, webhook = await self._webhook(scope)
        faults: list[Fault] = []
        wanted = validate(ReplayRequest, await read_json(scope, receive, faults), faults)
        organizer_id = await self._check_event(caller, wanted.event_id)
        in_scope = (
            webhook.event_id == wanted.event_id if webhook.event_id is not None else organizer_id == webhook.owner_id
        )
        if not in_scope:
            raise invalid(Fault("/event_id", "event_id: this webhook is not told of this event."))
        await self._webhooks.replay(webhook.id, wanted.event_id, wanted.after)
        return PlainResponse(202, success("Replay begun", webhook_data(webhook)))

    async def deliveries(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's
        """`GET /webhooks/{webhook_id}/deliveries`: those that are kept, newest first."""
        _, webhook = await self._webhook(scope)
        page = read_page(scope, str)
        found = [delivery_data(one) for one in await self._webhooks.deliveries(webhook.id)]
        if page.starting_after is not None:
            places = [place for place, one in enumerate(found) if one["id"] == page.starting_after]
            if not places:
                raise invalid(not_in_list())
            found = found[places[0] + 1 :]
        body = success("Fetched deliveries", found[: page.limit], has_more=len(found) > page.limit)
        return PlainResponse(200, body)

    async def _caller(self, scope: Scope) -> Caller:
        caller = await require_organizer(self._credentials, scope)
        self._reads.charge(caller.user_id)
        return caller

    async def _webhook(self, scope: Scope) -> tuple[Caller, Webhook]:
        """The caller, and the webhook of the path, which the caller may see. Raises Problem."""
        caller = await self._caller(scope)
        webhook_id = event_id_of(scope["path_params"]["webhook_id"])
        webhook = _found(None if webhook_id is None else await self._webhooks.find(webhook_id))
        if not caller.owns(webhook.owner_id):
            raise Problem("forbidden", "This webhook belongs to another organizer.")
        return caller, webhook

    async def _check_event(self, caller: Caller, event_id: int) -> str | None:
        """Checks that the event is the caller's, and returns its organizer. Raises Problem."""
        event = await self._ledger.event(event_id) or await self._office.get_event(event_id)
        if event is None:
            raise Problem("event_not_found")
        require_owner(caller, event)
        return event.organizer_id

    def _check_url(self, url: str) -> None:
        try:
            read_url(url, self._allowed)
        except Refused as refused:
            raise invalid(Fault("/url", f"url: {refused}")) from None


def _found(webhook: Webhook | None) -> Webhook:
    if webhook is None:
        raise Problem("webhook_not_found")
    return webhook


def _now_ms() -> int:
    return round(time.time() * 1000)


def webhook_data(webhook: Webhook, *, with_secret: bool = False) -> WebhookData:
    """The JSON of a webhook. Its secret is told only when it is made."""
    data: WebhookData = {
        "id": webhook.id,
        "owner_id": webhook.owner_id,
        "url": webhook.url,
        "kinds": kinds_text(webhook.kinds).split(),  # type: ignore[typeddict-item]  # their values
        "event_id": webhook.event_id,
        "description": webhook.description,
        "status": "enabled" if webhook.disabled_reason is None else "disabled",
        "disabled_reason": webhook.disabled_reason,
        "created_at": to_text(webhook.created_at_ms),
    }
    if with_secret:
        data["secret"] = webhook.secret
    return data


def delivery_data(delivery: Delivery) -> DeliveryData:
    """The JSON of one attempt to deliver a message."""
    return {
        "id": f"{delivery.message_id}.{delivery.at_ms}",
        "message_id": delivery.message_id,
        "type": delivery.type,
        "event_id": delivery.event_id,
        "seq": delivery.seq,
        "at": to_text(delivery.at_ms),
        "attempt": delivery.attempt,
        "delivered": delivery.error is None,
        "status": delivery.status,
        "error": delivery.error,
        "answer": delivery.answer,
        "duration_ms": delivery.duration_ms,
    }
