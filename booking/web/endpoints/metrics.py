"""`GET /metrics`: the counters of all processes of the service, and current gauges, for Prometheus."""

import asyncio
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import TypeVar

from starlette.types import Receive, Scope

from booking.domain.lags import Lag
from booking.domain.model import Event
from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded
from booking.inventory.primary_batchers import PrimaryBatchers
from booking.inventory.reader import InventoryReader, Primary
from booking.ledger.errors import LedgerError, LedgerUnavailable
from booking.ledger.ledger import Ledger
from booking.ledger.mails import MailQueue
from booking.ledger.webhooks import WebhookLedger
from booking.metrics import Histogram, Metrics, MetricsFile, escaped, together
from booking.web.access_log import AccessLog
from booking.web.endpoints.live import Places
from booking.web.endpoints.sale import refusals_of
from booking.web.responses import PlainResponse

T = TypeVar("T")

EVENTS_MAX = 50
"""The newest events, which get metrics of their own. Labels for tens of thousands would overload Prometheus."""

WEBHOOKS_MAX = 100
"""The newest webhooks, which get metrics of their own."""

VERSION = escaped({"version": version("booking")})

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

HELP = {
    "booking_info": ("gauge", "Always 1; its label is the version of the service."),
    "booking_requests_total": ("counter", "Requests answered."),
    "booking_request_duration_seconds": ("histogram", "From a request's head to its answer's last byte."),
    "booking_batch_commands": ("histogram", "Commands in one batch to Redis."),
    "booking_exchange_duration_seconds": ("histogram", "From sending a batch to Redis to its last reply: script time."),
    "booking_log_lines_dropped_total": ("counter", "Lines of the log that its reader did not take in time."),
    "booking_outcomes_unknown_total": (
        "counter",
        "Commands that were sent to Redis, and whose answer or durability was not confirmed (503 outcome_unknown).",
    ),
    "booking_sheds_total": ("counter", "Requests rejected because of overload."),
    "booking_persisted_rows_total": ("counter", "Changes written into SQL."),
    "booking_persister_transactions_total": ("counter", "Transactions that wrote them."),
    "booking_restorations_total": ("counter", "Shards that a persister restored, because Redis was behind SQL."),
    "booking_persister_up": ("gauge", "1 if booking persist, which tells this itself, has reached Redis and SQL."),
    "booking_outbox_up": ("gauge", "1 if booking notify, which tells this itself, has reached SQL."),
    "booking_webhook_attempts_total": ("counter", "Messages sent to webhooks, by result: delivered, failed."),
    "booking_webhook_first_attempt_seconds": ("histogram", "From a change to the first attempt to tell a webhook."),
    "booking_webhook_backlog_changes": ("gauge", "Changes that a webhook is behind, of any kind."),
    "booking_webhook_backlog_seconds": ("gauge", "Age of the oldest of them."),
    "booking_webhooks_disabled": ("gauge", "Webhooks that were disabled because they kept failing."),
    "booking_mails_total": (
        "counter",
        "Mails by kind, and by what became of them: sent, deferred, refused, given_up, …",
    ),
    "booking_mail_server_failures_total": ("counter", "Connections to the mail server that failed."),
    "booking_mail_backlog": ("gauge", "Mails that are to be sent by now, by lane."),
    "booking_mail_backlog_seconds": ("gauge", "Since when the oldest of them is to be sent."),
    "booking_queue_commands": ("gauge", "Commands that wait in the worker that responds."),
    "booking_live_listeners": ("gauge", "Open live streams of the worker that responds."),
    "booking_redis_up": ("gauge", "1 if Redis answers; of a cluster, for each primary."),
    "booking_redis_replicas": ("gauge", "Replicas that are connected to Redis."),
    "booking_database_up": ("gauge", "1 if SQL answers."),
    "booking_redis_memory_bytes": ("gauge", "Memory that Redis uses."),
    "booking_redis_memory_bytes_max": ("gauge", "Its limit (maxmemory), above which bookings are refused; 0: none."),
    "booking_shards_lost": ("gauge", "Shards that sell nothing until booking restore."),
    "booking_shards_away": ("gauge", "Shards that sell nothing because their Redis server does not answer."),
    "booking_stream_lag_entries": ("gauge", "Changes in Redis that SQL does not have yet."),
    "booking_stream_lag_seconds": ("gauge", "Age of the oldest of them."),
    "booking_shard_whole": ("gauge", "1 if the shard sells; 0: Redis has lost data of it."),
    "booking_shard_lag_entries": ("gauge", "Changes of the shard that SQL does not have yet."),
    "booking_shard_lag_seconds": ("gauge", "Age of the oldest of them."),
    "booking_tickets": ("gauge", "Tickets of the newest events by state: available, held, sold."),
    "booking_waiting_entries": ("gauge", "Entries on the waiting lists of the newest events."),
    "booking_refusals_total": ("counter", "Refusals of the newest events by code."),
}
"""Every metric's name, with its type and its help text."""


class MetricsEndpoint:
    """Open to anyone. A worker runs one collection at a time."""

    def __init__(
        self,
        office: BoxOffice,
        reader: InventoryReader,
        ledger: Ledger,
        batchers: PrimaryBatchers,
        places: Places,
        access_log: AccessLog,
        file: MetricsFile,
    ) -> None:
        self._office = office
        self._reader = reader
        self._ledger = ledger
        self._webhooks = WebhookLedger(ledger)
        self._batchers = batchers
        self._places = places
        self._access_log = access_log
        self._file = file
        self._collecting = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's signature
        """Responds with all metrics, in Prometheus's text format."""
        async with self._collecting:
            metrics = await self._counters()
            gauges, webhooks, database_up = await asyncio.gather(
                self._gauges(), self._webhooks_behind(), self._database_up()
            )
            gauges |= {("booking_database_up", ""): database_up, **webhooks}
            gauges |= await self._mail_backlog()
        return PlainResponse(200, "".join(lines(metrics, gauges)).encode(), media_type=CONTENT_TYPE)

    async def _counters(self) -> Metrics:
        """The counters of all processes. Those of this process are up to date; the others are up to a second old."""
        self._access_log.flush()
        self._access_log.collect(self._batchers.metrics)
        await self._file.save(self._batchers.metrics)  # what is shown survives a kill, so that no counter decreases
        return together([self._batchers.metrics, *await self._file.of_others()])

    async def _gauges(self) -> dict[tuple[str, str], float]:
        worker = escaped({"pid": os.getpid()})
        gauges: dict[tuple[str, str], float] = {
            ("booking_info", VERSION): 1,
            ("booking_queue_commands", worker): len(self._batchers),
            ("booking_live_listeners", worker): self._places.taken,
        }
        (lags, errors), servers = await asyncio.gather(self._office.known_lags(), self._reader.primaries())
        gauges |= _of_shards(lags) | _of_servers(servers, errors)
        with suppress(InventoryUnavailable, OutcomeUnknown, Overloaded):
            last = await self._office.last_event_id()
            for event_id in range(last, max(0, last - EVENTS_MAX), -1):
                if self._office.shard_of(event_id) in errors:
                    continue
                event = await self._office.get_event(event_id)
                if event is not None:
                    gauges |= _of_event(event) | await self._refusals(event_id)
        return gauges

    async def _webhooks_behind(self) -> dict[tuple[str, str], float]:
        """How far the newest webhooks are behind; empty if the database is away."""
        gauges: dict[tuple[str, str], float] = {}
        with suppress(LedgerError):
            waiting = await self._webhooks.waiting()
            gauges["booking_webhooks_disabled", ""] = len(await self._webhooks.disabled())
            now_ms = time.time() * 1000
            for webhook_id in sorted(waiting, reverse=True)[:WEBHOOKS_MAX]:
                one, labels = waiting[webhook_id], escaped({"webhook": webhook_id})
                gauges["booking_webhook_backlog_changes", labels] = one.changes
                age_ms = 0 if one.oldest_ms is None else max(0, now_ms - one.oldest_ms)
                gauges["booking_webhook_backlog_seconds", labels] = age_ms / 1000
        return gauges

    async def _database_up(self) -> bool:
        try:
            await self._ledger.ping()
        except LedgerUnavailable:
            return False
        return True

    async def _mail_backlog(self) -> dict[tuple[str, str], float]:
        gauges: dict[tuple[str, str], float] = {}
        with suppress(LedgerUnavailable):
            for lane, (mails, oldest_ms) in (
                await MailQueue(self._ledger).backlog(time.time_ns() // 1_000_000)
            ).items():
                labels = escaped({"lane": lane.name.lower()})
                gauges["booking_mail_backlog", labels] = mails
                gauges["booking_mail_backlog_seconds", labels] = oldest_ms / 1_000
        return gauges

    async def _refusals(self, event_id: int) -> dict[tuple[str, str], float]:
        counted = refusals_of(await self._reader.event(event_id) or {})
        return {
            ("booking_refusals_total", escaped({"event": event_id, "code": code})): count
            for code, count in counted.items()
        }


def _of_shards(lags: Mapping[int, Lag]) -> dict[tuple[str, str], float]:
    gauges: dict[tuple[str, str], float] = {}
    for shard, lag in lags.items():
        labels = escaped({"shard": shard})
        gauges["booking_shard_whole", labels] = lag.whole
        gauges["booking_shard_lag_entries", labels] = lag.entries
        gauges["booking_shard_lag_seconds", labels] = lag.oldest_ms / 1000
    if lags:
        gauges["booking_shards_lost", ""] = sum(not lag.whole for lag in lags.values())
        gauges["booking_stream_lag_entries", ""] = sum(lag.entries for lag in lags.values())
        gauges["booking_stream_lag_seconds", ""] = max(lag.oldest_ms for lag in lags.values()) / 1000
    return gauges


def _of_servers(servers: Sequence[Primary], errors: Mapping[int, Exception]) -> dict[tuple[str, str], float]:
    """The gauges of each primary. With several, their label is the location; with one, they have no label."""
    gauges: dict[tuple[str, str], float] = {("booking_shards_away", ""): len(errors)}
    if not servers:
        gauges["booking_redis_up", ""] = 0
    for server in servers:
        labels = escaped({"primary": server.location}) if len(servers) > 1 else ""
        gauges["booking_redis_up", labels] = errors.keys().isdisjoint(server.shards)
        if server.is_up:
            gauges["booking_redis_memory_bytes", labels] = server.memory_bytes
            gauges["booking_redis_memory_bytes_max", labels] = server.memory_bytes_max
            gauges["booking_redis_replicas", labels] = server.replicas
    return gauges


def _of_event(event: Event) -> dict[tuple[str, str], float]:
    states = {"available": event.available, "held": event.tickets_held, "sold": event.tickets_sold}
    gauges: dict[tuple[str, str], float] = {
        ("booking_tickets", escaped({"event": event.id, "state": state})): count for state, count in states.items()
    }
    gauges["booking_waiting_entries", escaped({"event": event.id})] = event.waiting_count
    return gauges


def lines(metrics: Metrics, gauges: dict[tuple[str, str], float], names: Iterable[str] = HELP) -> Iterator[str]:
    """The lines of the text format for `names`. The samples of one name stand together, below its help and type."""
    samples, histograms = _by_name({**metrics.counters, **gauges}), _by_name(metrics.histograms)
    for name in names:
        kind, text = HELP[name]
        yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
        for labels, histogram in histograms.get(name, ()):
            yield from _buckets(name, labels, histogram)
        for labels, value in samples.get(name, ()):
            yield f"{name}{{{labels}}} {value:.15g}\n" if labels else f"{name} {value:.15g}\n"


def _by_name(values: Mapping[tuple[str, str], T]) -> dict[str, list[tuple[str, T]]]:
    """The labels and values of each name, in the order of the labels."""
    found: dict[str, list[tuple[str, T]]] = {}
    for name, labels in sorted(values):
        found.setdefault(name, []).append((labels, values[name, labels]))
    return found


def _buckets(name: str, labels: str, histogram: Histogram) -> Iterator[str]:
    beside = f"{labels}," if labels else ""
    below = 0
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        below += count
        yield f'{name}_bucket{{{beside}le="{bound}"}} {below}\n'
    shown = f"{{{labels}}}" if labels else ""
    yield f"{name}_sum{shown} {histogram.total:.9g}\n{name}_count{shown} {below}\n"
