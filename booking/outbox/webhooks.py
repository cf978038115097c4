"""The consumer that tells webhooks: of each event in order, one message at a time, events side by side.

A round writes the cursors of what was told, reads which events have more for which webhook, and gives the next changes
of these events to tasks, one for each event. So one small transaction serves all messages of a round.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from random import shuffle
from typing import Any

import orjson
import structlog
from standardwebhooks import Webhook as Signer

from booking.domain.changes import Change, ChangeKind
from booking.ledger.outbox import Backlog, Cursor
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
"""Changes of one event that are read at a time. More are read when half of them are left."""

RUN_SECONDS = 1.0
"""After this time other events of the webhook have their turn, if any wait."""

STOP_SECONDS_MAX = 2.5
"""How long a stop waits for answers. A message whose answer is not there by then is sent again later."""

ERROR_CHARACTERS_MAX = 300

_FAILED = ThrottledLogger("a webhook's message could not be sent")

log = structlog.get_logger()


@dataclass(eq=False)
class Endpoint:
    """A webhook, and what is on its way to it."""

    webhook: Webhook
    pool: Pool | None
    """None: its URL is refused."""
    refusal: str = ""
    waiting: "deque[Run]" = field(default_factory=deque)
    active: "dict[int, Run]" = field(default_factory=dict)
    """By event: what waits, is on its way, or has a cursor that is not written yet. What the database says is old."""
    sending: int = 0
    sending_max: int = 2
    ahead: int = 0
    """Changes read ahead and not told yet."""
    is_failing: bool = False
    is_over: bool = False
    """Whether it was disabled, removed or changed: nothing more is sent."""

    def __post_init__(self) -> None:
        labels = [{"webhook": self.webhook.id, "result": result} for result in ("failed", "delivered")]
        self.labels = [escaped(one) for one in labels]
        """Of the attempts that failed and of the others, for the metrics."""


@dataclass(eq=False, slots=True)
class Run:
    """The next changes of one event, on their way to one webhook."""

    endpoint: Endpoint
    cursor: Cursor
    """As the database has it, or is to have it with `seq`."""
    seq: int
    """The last change that was told, or that its kind excludes."""
    upto: int
    """How far it was read."""
    changes: deque[Change]

    def drop(self) -> None:
        """Forgets what was read ahead. A message that is on its way ends."""
        self.endpoint.ahead -= len(self.changes)
        self.changes.clear()
        self.upto = 0


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
        self._moved: set[Run] = set()
        """Those whose cursors are to be written."""
        self._deliveries: dict[tuple[int, int], tuple[Any, ...]] = {}
        """The fields of a Delivery, by its webhook and place."""
        self._disabled: dict[int, str] = {}
        self._ended: list[Run] = []
        """Those that are not on their way any more, and whose cursors are not written yet."""
        self._places: dict[tuple[int, bool], int] = {}
        self._checked_at = -OWNERS_SECONDS
        self._retry_at_ms: float = 0.0
        """When the next repetition is due, so that a round is needed."""
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
            if not await self._round():
                await self._wait(begun, news)
        for endpoint in self._endpoints.values():
            self._end(endpoint)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS_MAX)
        await self._save()

    async def _wait(self, begun: float, news: int) -> None:
        """Returns when the next round has something to do. Messages that hang need none."""
        context = self._context
        if self._tasks or self._moved or self._ended:
            await asyncio.sleep(max(0.0, begun + ROUND_SECONDS - time.monotonic()))
        while not (self._moved or self._ended or context.stop.is_set()) and context.news.count == news:
            left = min(begun + IDLE_SECONDS - time.monotonic(), self._retry_at_ms / 1000 - time.time())
            if left <= 0:
                break
            await context.news.wait(news, min(left, ROUND_SECONDS) if self._tasks else left)

    async def close(self) -> None:
        """Ends what is on its way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for endpoint in self._endpoints.values():
            self._end(endpoint)

    async def _round(self) -> bool:
        """One round. Returns whether the next one has something to do at once."""
        await self._save()
        if time.monotonic() - self._checked_at > OWNERS_SECONDS:
            self._checked_at = time.monotonic()
            await self._ledger.disable_of_others()
        share = max(CHANGES_OF_ONE_MIN, CHANGES_MAX // max(1, len(self._endpoints)))
        # One that has read ahead enough is not looked for: if it is dead, that costs nothing.
        room = {
            webhook_id: (CHANGES_OF_ONE_MIN if endpoint.is_failing else share) - endpoint.ahead
            for webhook_id, endpoint in self._endpoints.items()
        }
        now_ms = time.time_ns() // 1_000_000
        backlogs, version = await self._ledger.behind([one for one in room if room[one] > 0], now_ms, share)
        if version != self._version:
            await self._reload(version)
        if now_ms >= self._retry_at_ms:
            self._retry_at_ms = math.inf  # before the answer, so that a failure meanwhile counts
            due_ms = await self._ledger.next_retry_ms(now_ms)
            self._retry_at_ms = min(self._retry_at_ms, due_ms or math.inf)
        by_endpoint: dict[int, list[Backlog]] = {}
        for backlog in backlogs:
            by_endpoint.setdefault(backlog.cursor.consumer, []).append(backlog)
        has_more = False
        ids = list(by_endpoint)
        shuffle(ids)
        for webhook_id in ids:
            endpoint = self._endpoints.get(webhook_id)
            if endpoint is not None and not endpoint.is_over:
                has_more |= await self._load(endpoint, by_endpoint[webhook_id], room[webhook_id])
        return has_more or not self._endpoints.keys() <= room.keys()

    async def _load(self, endpoint: Endpoint, backlogs: Sequence[Backlog], most: int) -> bool:
        """Reads up to `most` changes, and sends them. Returns whether some events had none of a wanted kind."""
        wanted: list[Backlog] = []
        for backlog in backlogs:
            run = endpoint.active.get(backlog.cursor.event_id)
            if run is None:
                wanted.append(backlog)
            elif run.cursor.replays != backlog.cursor.replays:
                run.drop()
            elif 0 < len(run.changes) < PAGE_MAX // 2 and run.upto < backlog.upto and not endpoint.is_failing:
                wanted.append(Backlog(replace(run.cursor, seq=run.upto), backlog.upto))
        del wanted[most:]
        if not wanted:
            return False
        pages = await self._context.ledger.pages(
            wanted, endpoint.webhook.kinds, min(PAGE_MAX, max(1, most // len(wanted)))
        )
        skipped = False
        for backlog in wanted:
            cursor, page = backlog.cursor, pages[backlog.cursor.event_id]
            run = endpoint.active.get(cursor.event_id)
            if run is None:
                run = Run(endpoint, cursor, cursor.seq, page.upto, deque(page.changes))
                if page.changes:
                    endpoint.active[cursor.event_id] = run
                    endpoint.waiting.append(run)
                else:
                    run.cursor, run.seq = _settled(cursor), page.upto
                    self._moved.add(run)
                    skipped |= page.upto < backlog.upto
            elif run.changes and run.upto == cursor.seq:
                run.changes.extend(page.changes)
                run.upto = page.upto
            else:  # it has ended meanwhile, and its cursor has to be written first
                continue
            endpoint.ahead += len(page.changes)
        self._pump(endpoint)
        return skipped

    async def _save(self) -> None:
        """Writes cursors and deliveries. Raises LeaseLost, LedgerError."""
        moved, self._moved = [replace(run.cursor, seq=run.seq) for run in self._moved], set()
        deliveries, self._deliveries = {place: Delivery(*one) for place, one in self._deliveries.items()}, {}
        disabled, self._disabled = self._disabled, {}
        ended, self._ended = self._ended, []
        if moved or deliveries or disabled:
            await self._context.move(moved, self._ledger.recording(deliveries, disabled))
        for run in ended:
            del run.endpoint.active[run.cursor.event_id]

    async def _reload(self, version: str) -> None:
        """Reads the webhooks, of which some have changed.

        What is on its way to one that has changed ends with its message. Until then each round reads them again.
        """
        found = {webhook.id: webhook for webhook in await self._ledger.enabled()}
        for webhook_id, endpoint in list(self._endpoints.items()):
            if found.get(webhook_id) != endpoint.webhook and not endpoint.is_over:
                self._end(endpoint)
            if endpoint.is_over and not endpoint.active:
                del self._endpoints[webhook_id]
        for webhook_id in found.keys() - self._endpoints.keys():
            self._endpoints[webhook_id] = self._endpoint(found[webhook_id])
        if self._endpoints:
            self._context.news.listeners.add(NAME)
        else:
            self._context.news.listeners.discard(NAME)
        self._retry_at_ms = 0.0
        if not any(endpoint.is_over for endpoint in self._endpoints.values()):
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
            self._stop(run)
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
        """Tells changes of one event, one after the other, up to the first that fails, or until its turn is over."""
        until = time.monotonic() + RUN_SECONDS
        has_turn = True
        try:
            while run.changes and not endpoint.is_over and self._context.has_lease and has_turn:
                change = run.changes[0]
                answer = await self._attempt(endpoint, change, run.cursor.attempts + 1)
                self._moved.add(run)
                failure = failure_of(answer)
                if failure is not None:
                    self._failed(run, failure, answer.status)
                    break
                run.seq = change.seq
                if run.cursor.attempts:
                    run.cursor = _settled(run.cursor)
                if run.changes:  # else they were dropped meanwhile
                    run.changes.popleft()
                    endpoint.ahead -= 1
                if not run.changes:
                    run.seq = max(run.seq, run.upto)
                endpoint.is_failing = False
                if endpoint.sending_max < SENDING_MAX:
                    endpoint.sending_max += 1
                    self._pump(endpoint)
                has_turn = not endpoint.waiting or time.monotonic() < until
        finally:
            if has_turn or not run.changes or endpoint.is_over:
                self._stop(run)
            else:
                endpoint.waiting.append(run)
            endpoint.sending -= 1
            self._sending -= 1
            self._pump(endpoint)
            while self._held_up and self._sending < SENDING_IN_ALL_MAX:
                self._pump(self._held_up.popleft())

    def _stop(self, run: Run) -> None:
        """Has the next round write the run's cursor, and read what comes after it."""
        run.drop()
        self._ended.append(run)

    async def _attempt(self, endpoint: Endpoint, change: Change, attempt: int) -> Answer:
        """Sends one message, and records what became of it."""
        webhook, at_ms = endpoint.webhook, time.time_ns() // 1_000_000
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
        self._context.metrics.count("booking_webhook_attempts_total", endpoint.labels[failure is None])
        if attempt == 1:
            waited = max(0.0, (at_ms - change.at_ms) / 1000)
            self._context.metrics.observe("booking_webhook_first_attempt_seconds", "", waited)
        self._deliveries[webhook.id, self._place(webhook.id, succeeded=failure is None)] = (
            webhook.id, message_id, change.event_id, change.seq, kind, at_ms, attempt, round(answer.seconds * 1000),
            answer.status, failure, shown(answer.body),
        )  # fmt: skip
        return answer

    def _place(self, webhook_id: int, *, succeeded: bool) -> int:
        """The place of the next delivery among those that are kept."""
        first = KEPT if succeeded else 0
        last = self._places.get((webhook_id, succeeded), first - 1)
        place = self._places[webhook_id, succeeded] = first + (last + 1 - first) % KEPT
        return place

    def _failed(self, run: Run, failure: str, status: int | None) -> None:
        """Sets the time of the next attempt. May disable the webhook."""
        endpoint, cursor, at_ms = run.endpoint, run.cursor, time.time_ns() // 1_000_000
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
        self._retry_at_ms = min(self._retry_at_ms, retry_at_ms)
        attempts = cursor.attempts + 1
        run.cursor = replace(cursor, attempts=attempts, failing_since_ms=since_ms, retry_at_ms=retry_at_ms)

    def _disable(self, endpoint: Endpoint, reason: str) -> None:
        if not endpoint.is_over:
            self._end(endpoint)
            self._disabled[endpoint.webhook.id] = reason
            log.warning("a webhook is disabled", webhook=endpoint.webhook.id, reason=reason)


def type_of(kind: ChangeKind) -> str:
    """The type of a message about a change of this kind (contract)."""
    return f"event.{kind}" if kind in (ChangeKind.CREATED, ChangeKind.CHANGED) else f"booking.{kind}"


_signer = lru_cache(maxsize=1_024)(Signer)


def head_of(webhook: Webhook, message_id: str, at_ms: int, body: bytes) -> bytes:
    """The fields of a message that Standard Webhooks asks for."""
    secrets = [webhook.secret]
    if webhook.old_secret is not None and at_ms < (webhook.old_secret_until_ms or 0):
        secrets.append(webhook.old_secret)
    seconds, text = at_ms // 1000, body.decode()
    sent_at = datetime.fromtimestamp(seconds, UTC)
    signed = " ".join(_signer(secret).sign(message_id, sent_at, text) for secret in secrets)
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
