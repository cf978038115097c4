"""The consumer that tells webhooks: of each event in order, one message at a time, events side by side.

A round writes the cursors of what was told, reads which events have more for which webhook, and gives each of these
events, with a page of its changes, to a task. So one small transaction serves all messages of a round.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import shuffle

import orjson
import structlog
from standardwebhooks import Webhook as Signer

from booking.domain.changes import Change, ChangeKind
from booking.ledger.outbox import Backlog, Cursor, Page
from booking.ledger.webhooks import KEPT, Delivery, Webhook, WebhookLedger
from booking.logs import ThrottledLogger
from booking.metrics import escaped
from booking.outbox.addresses import Allowed, Refused, read_url
from booking.outbox.context import Context
from booking.outbox.sender import Answer, Pool, Sender

NAME = "webhooks"
"""The consumer's name, in the log and among the listeners of news."""

RETRY_SECONDS = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400)
"""Waits after failures in a row; the last one repeats (contract)."""

GIVE_UP_SECONDS = 3 * 86_400
"""A webhook that has failed for this long is disabled (contract)."""

GONE = 410
"""The status that disables a webhook at once (contract)."""

ROUND_SECONDS = 0.2
"""Between two rounds while there is something to tell: as long as a cursor may be behind what was told."""

IDLE_SECONDS = 30.0
"""Between two rounds while there is nothing new."""

OWNERS_SECONDS = 10.0
"""Between two checks that the owners of webhooks are organizers. It takes up to IDLE_SECONDS while nothing is new."""

SENDING_MAX = 32
"""Messages to one webhook on their way at a time. It grows up to here with each success, and a failure makes it 1."""

SENDING_IN_ALL_MAX = 1_024
"""Messages on their way at a time."""

CHANGES_MAX = 10_000
"""Changes that are read ahead, for all webhooks together: some 10 MB."""

CHANGES_OF_ONE_MIN = 10
"""What each webhook may read ahead all the same."""

PAGE_MAX = 1_000
"""Changes of one event that are read at a time."""

RUN_SECONDS = 1.0
"""After this time the changes of one event that were told are written down, and the event waits for its next turn."""

STOP_SECONDS_MAX = 2.5
"""How long a stop waits for answers. A message whose answer is not there by then is sent again later."""

ERROR_CHARACTERS_MAX = 300

_FAILED = ThrottledLogger("a webhook's message could not be sent")

log = structlog.get_logger()


@dataclass(slots=True)
class Run:
    """A page of changes of one event, on its way to one webhook."""

    cursor: Cursor
    page: Page


@dataclass(eq=False)
class Endpoint:
    """A webhook, and what is on its way to it."""

    webhook: Webhook
    pool: Pool | None
    """None: its URL is refused."""
    refusal: str = ""
    waiting: deque[Run] = field(default_factory=deque)
    active: set[int] = field(default_factory=set)
    """The events that wait, are on their way, or whose cursor is not written yet: what the database says is old."""
    sending: int = 0
    sending_max: int = 2
    page_max: int = 16
    """Changes of one event that are read at a time: about as many as can be told in RUN_SECONDS."""
    ahead: int = 0
    """Changes read ahead and not told yet."""
    is_failing: bool = False
    is_over: bool = False
    """Whether it was disabled, removed or changed: nothing more is sent."""


async def consume(context: Context) -> None:
    """Tells all webhooks until the stop. Raises LeaseLost, LedgerError."""
    sender = Sender(Allowed(context.settings.webhook_allow))
    dispatcher = Dispatcher(context, WebhookLedger(context.ledger.ledger), sender)
    try:
        await dispatcher.run()
    finally:
        await dispatcher.close()


class Dispatcher:
    """Tells webhooks while this process has the lease."""

    def __init__(self, context: Context, ledger: WebhookLedger, sender: Sender) -> None:
        self._context = context
        self._ledger = ledger
        self._sender = sender
        self._endpoints: dict[int, Endpoint] = {}
        self._version: str | None = None
        self._moved: list[Cursor] = []
        self._deliveries: dict[tuple[int, int], Delivery] = {}
        self._disabled: dict[int, str] = {}
        self._ended: list[tuple[Endpoint, int]] = []
        """Events that are not on their way any more, and whose cursors are not written yet."""
        self._places: dict[tuple[int, bool], int] = {}
        self._checked_at = -OWNERS_SECONDS
        self._sending = 0
        self._held_up: deque[Endpoint] = deque()
        """Those that could send more, if SENDING_IN_ALL_MAX were not reached."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Tells until the stop; then it waits for what is on its way. Raises LeaseLost, LedgerError."""
        context = self._context
        self._places = await self._ledger.newest_places()
        while not context.stop.is_set():
            begun, news = time.monotonic(), context.news.count
            has_more = await self._round()
            if has_more or self._tasks or self._ended:
                await asyncio.sleep(max(0.0, begun + (0.0 if has_more else ROUND_SECONDS) - time.monotonic()))
            else:
                await context.news.wait(news, await self._idle_seconds())
        for endpoint in self._endpoints.values():
            self._end(endpoint)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS_MAX)
        await self._save()

    async def close(self) -> None:
        """Ends what is on its way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for endpoint in self._endpoints.values():
            self._end(endpoint)

    async def _idle_seconds(self) -> float:
        if not self._endpoints:
            return IDLE_SECONDS
        due_ms = await self._ledger.next_retry_ms()
        return IDLE_SECONDS if due_ms is None else min(IDLE_SECONDS, max(ROUND_SECONDS, due_ms / 1000 - time.time()))

    async def _round(self) -> bool:
        """One round. Returns whether the next one has something to do at once."""
        await self._save()
        if time.monotonic() - self._checked_at > OWNERS_SECONDS:
            self._checked_at = time.monotonic()
            await self._ledger.disable_of_others()
        await self._reload()
        room = CHANGES_MAX - sum(one.ahead for one in self._endpoints.values() if not one.is_failing)
        if not self._endpoints:
            return False
        now_ms = round(time.time() * 1000)
        share = max(CHANGES_OF_ONE_MIN, CHANGES_MAX // len(self._endpoints))
        by_endpoint: dict[int, list[Backlog]] = {}
        for backlog in await self._ledger.behind(now_ms, share):
            by_endpoint.setdefault(backlog.cursor.consumer, []).append(backlog)
        skipped = False
        ids = list(by_endpoint)
        shuffle(ids)
        for webhook_id in ids:
            endpoint = self._endpoints.get(webhook_id)
            if endpoint is None or endpoint.is_over or (room <= 0 and endpoint.ahead):
                continue
            mine = CHANGES_OF_ONE_MIN if endpoint.is_failing else min(max(room, CHANGES_OF_ONE_MIN), share)
            some = [one for one in by_endpoint[webhook_id] if one.cursor.event_id not in endpoint.active]
            some = some[: max(0, mine - endpoint.ahead)]
            if some:
                begun = endpoint.ahead
                most = min(endpoint.page_max, max(1, (mine - endpoint.ahead) // len(some)))
                skipped |= await self._load(endpoint, some, most)
                room -= endpoint.ahead - begun
        return skipped

    async def _load(self, endpoint: Endpoint, backlogs: Sequence[Backlog], most: int) -> bool:
        """Reads pages, and sends them. Returns whether some held no change of a wanted kind."""
        pages = await self._context.ledger.pages(backlogs, endpoint.webhook.kinds, most)
        skipped = False
        for backlog in backlogs:
            page = pages[backlog.cursor.event_id]
            if page.changes:
                endpoint.active.add(backlog.cursor.event_id)
                endpoint.ahead += len(page.changes)
                endpoint.waiting.append(Run(backlog.cursor, page))
            else:
                self._moved.append(replace(_settled(backlog.cursor), seq=page.upto))
                skipped |= page.upto < backlog.upto
        self._pump(endpoint)
        return skipped

    async def _save(self) -> None:
        """Writes cursors and deliveries. Raises LeaseLost, LedgerError."""
        moved, self._moved = self._moved, []
        deliveries, self._deliveries = self._deliveries, {}
        disabled, self._disabled = self._disabled, {}
        ended, self._ended = self._ended, []
        if moved or deliveries or disabled:
            await self._context.move(moved, self._ledger.recording(deliveries, disabled))
        for endpoint, event_id in ended:
            endpoint.active.discard(event_id)

    async def _reload(self) -> None:
        """Reads the webhooks again if one has changed. What is on its way to one that changed ends with its message."""
        version = await self._ledger.version()
        if version == self._version:
            return
        found = {webhook.id: webhook for webhook in await self._ledger.enabled()}
        for webhook_id, endpoint in list(self._endpoints.items()):
            if found.get(webhook_id) != endpoint.webhook:
                self._end(endpoint)
            if endpoint.is_over and not endpoint.active:
                del self._endpoints[webhook_id]
        for webhook_id in found.keys() - self._endpoints.keys():
            self._endpoints[webhook_id] = self._endpoint(found[webhook_id])
        if self._endpoints:
            self._context.news.listeners.add(NAME)
        else:
            self._context.news.listeners.discard(NAME)
        if not any(endpoint.is_over for endpoint in self._endpoints.values()):  # else once more in the next round
            await self._ledger.remove_leftovers()
            self._version = version

    def _endpoint(self, webhook: Webhook) -> Endpoint:
        try:
            return Endpoint(webhook, Pool(read_url(webhook.url, Allowed(self._context.settings.webhook_allow))))
        except Refused as refused:
            return Endpoint(webhook, None, str(refused))

    def _end(self, endpoint: Endpoint) -> None:
        endpoint.is_over = True
        for run in endpoint.waiting:
            endpoint.active.discard(run.cursor.event_id)
            endpoint.ahead -= len(run.page.changes)
        endpoint.waiting.clear()
        if endpoint.pool is not None:
            endpoint.pool.close()

    def _pump(self, endpoint: Endpoint) -> None:
        """Starts as many of an endpoint's events as may be on their way."""
        while endpoint.waiting and endpoint.sending < endpoint.sending_max:
            if self._sending >= SENDING_IN_ALL_MAX:
                if endpoint not in self._held_up:
                    self._held_up.append(endpoint)
                return
            endpoint.sending += 1
            self._sending += 1
            task = asyncio.create_task(self._tell(endpoint, endpoint.waiting.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell(self, endpoint: Endpoint, run: Run) -> None:
        """Tells a page of changes, one after the other, up to the first that fails."""
        left = len(run.page.changes)
        cursor, until = run.cursor, time.monotonic() + RUN_SECONDS
        try:
            for change in run.page.changes:
                if endpoint.is_over or not self._context.has_lease:
                    break
                if time.monotonic() > until:
                    endpoint.page_max = max(1, endpoint.page_max // 2)
                    break
                answer, at_ms = await self._attempt(endpoint, change, cursor.attempts + 1)
                failure = failure_of(answer)
                if failure is not None:
                    cursor = self._failed(endpoint, cursor, failure, at_ms, answer.status)
                    break
                cursor = replace(_settled(cursor), seq=change.seq)
                left -= 1
                endpoint.ahead -= 1
                endpoint.is_failing = False
                if endpoint.sending_max < SENDING_MAX:
                    endpoint.sending_max += 1
                    self._pump(endpoint)
            else:
                cursor = replace(cursor, seq=run.page.upto)
                endpoint.page_max = min(PAGE_MAX, endpoint.page_max * 2)
        finally:
            if cursor is not run.cursor:
                self._moved.append(cursor)
            endpoint.ahead -= left
            self._ended.append((endpoint, run.cursor.event_id))
            endpoint.sending -= 1
            self._sending -= 1
            self._pump(endpoint)
            while self._held_up and self._sending < SENDING_IN_ALL_MAX:
                self._pump(self._held_up.popleft())

    async def _attempt(self, endpoint: Endpoint, change: Change, attempt: int) -> tuple[Answer, int]:
        """Sends one message, and records what became of it. Returns when it was sent, too."""
        webhook, at_ms = endpoint.webhook, round(time.time() * 1000)
        kind, message_id = type_of(change.kind), f"{webhook.id}-{change.event_id}-{change.seq}"
        if endpoint.pool is None:
            answer = Answer(None, endpoint.refusal, b"", 0.0)
        else:
            try:
                data = self._context.render(change)
                body = orjson.dumps({"type": kind, "timestamp": data["at"], "data": data})
                answer = await self._sender.send(endpoint.pool, head_of(webhook, message_id, at_ms, body), body)
            except Exception as error:  # noqa: BLE001 - a defect must not repeat the message at once
                _FAILED.error(webhook=webhook.id, message=message_id, error=repr(error))
                answer = Answer(None, "The service could not send it.", b"", 0.0)
        failure = failure_of(answer)
        labels = escaped({"webhook": webhook.id, "result": "delivered" if failure is None else "failed"})
        self._context.metrics.count("booking_webhook_attempts_total", labels)
        if attempt == 1:
            waited = max(0.0, (at_ms - change.at_ms) / 1000)
            self._context.metrics.observe("booking_webhook_first_attempt_seconds", "", waited)
        self._record(
            Delivery(
                webhook.id, message_id, change.event_id, change.seq, kind, at_ms, attempt,
                round(answer.seconds * 1000), answer.status, failure, shown(answer.body),
            )
        )  # fmt: skip
        return answer, at_ms

    def _record(self, delivery: Delivery) -> None:
        succeeded = delivery.error is None
        first = KEPT if succeeded else 0
        last = self._places.get((delivery.webhook_id, succeeded), first - 1)
        place = self._places[delivery.webhook_id, succeeded] = first + (last + 1 - first) % KEPT
        self._deliveries[delivery.webhook_id, place] = delivery

    def _failed(self, endpoint: Endpoint, cursor: Cursor, failure: str, at_ms: int, status: int | None) -> Cursor:
        """The cursor after a failure: with the time of the next attempt. May disable the webhook."""
        endpoint.is_failing, endpoint.sending_max = True, 1
        since_ms = min(at_ms, cursor.failing_since_ms or at_ms)
        is_gone = status == GONE
        if is_gone or at_ms - since_ms >= GIVE_UP_SECONDS * 1000:
            reason = (
                "It has answered 410 Gone." if is_gone else f"It has failed for three days. The last time: {failure}"
            )
            self._disable(endpoint, reason)
        wait_seconds = RETRY_SECONDS[min(cursor.attempts, len(RETRY_SECONDS) - 1)]
        retry_at_ms = at_ms + wait_seconds * 1000
        attempts = cursor.attempts + 1
        return replace(cursor, attempts=attempts, failing_since_ms=since_ms, retry_at_ms=retry_at_ms)

    def _disable(self, endpoint: Endpoint, reason: str) -> None:
        if not endpoint.is_over:
            self._end(endpoint)
            self._disabled[endpoint.webhook.id] = reason
            log.warning("a webhook is disabled", webhook=endpoint.webhook.id, reason=reason)


def type_of(kind: ChangeKind) -> str:
    """The type of a message about a change of this kind (contract)."""
    return f"event.{kind}" if kind in (ChangeKind.CREATED, ChangeKind.CHANGED) else f"booking.{kind}"


def head_of(webhook: Webhook, message_id: str, at_ms: int, body: bytes) -> bytes:
    """The fields of a message that Standard Webhooks asks for."""
    secrets = [webhook.secret]
    if webhook.old_secret is not None and at_ms < (webhook.old_secret_until_ms or 0):
        secrets.append(webhook.old_secret)
    seconds, text = at_ms // 1000, body.decode()
    sent_at = datetime.fromtimestamp(seconds, UTC)
    signed = " ".join(Signer(secret).sign(message_id, sent_at, text) for secret in secrets)
    return f"webhook-id: {message_id}\r\nwebhook-timestamp: {seconds}\r\nwebhook-signature: {signed}\r\n".encode()


def shown(body: bytes) -> str | None:
    """How an answer begins, as text that any database holds."""
    return body.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}") or None


def failure_of(answer: Answer) -> str | None:
    """Why an answer is no success, as a sentence; None if it is one."""
    if answer.status is None:
        return (answer.error or "There was no answer.")[:ERROR_CHARACTERS_MAX]
    if 200 <= answer.status < 300:
        return None
    if 300 <= answer.status < 400:
        return f"It has answered {answer.status}; redirects are not followed."
    return f"It has answered {answer.status}."


def _settled(cursor: Cursor) -> Cursor:
    """The cursor without failures."""
    return replace(cursor, attempts=0, failing_since_ms=None, retry_at_ms=None)
