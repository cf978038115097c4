"""The composition root of a web worker: settings → clients → routes → lifespan."""

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Protocol

import structlog
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from booking import logs
from booking.auth.passwords import Passwords
from booking.auth.tokens import TokenVerifier, sign_token
from booking.domain.accounts import Account, Role
from booking.domain.callers import account_user_id
from booking.domain.payment_links import PaymentLinks
from booking.inventory.box_office import BoxOffice, RateLimit
from booking.inventory.durability import LevelUnavailable, choose
from booking.inventory.expiry import sweep
from booking.inventory.password_checks import PasswordChecks
from booking.inventory.primary_batchers import PrimaryBatchers
from booking.inventory.reader import InventoryReader
from booking.inventory.script_connection import ANSWER_SECONDS_MAX
from booking.inventory.shard_clients import placement
from booking.inventory.streams import ChangeStreams
from booking.inventory.topology import open_topology
from booking.ledger.errors import LedgerError
from booking.ledger.ledger import Ledger
from booking.metrics import FOLDER, Metrics, MetricsFile
from booking.operations.read_your_writes import ReadYourWrites
from booking.operations.restore.naming import name_accounts
from booking.operations.restore.restoration import lost_shards, restore_empty
from booking.outbox.addresses import Allowed
from booking.persister.bootstrap import initialize_shards
from booking.persister.verification import Verifier, verified_connections
from booking.settings import Settings, SettingsError
from booking.web.access_log import AccessLog, console_line, json_line
from booking.web.account_tokens import RENEW_SECONDS, AccountTokens
from booking.web.authentication import Credentials
from booking.web.cross_origin import CrossOriginMiddleware
from booking.web.endpoints.accounts import RENEWABLE_SECONDS, AccountEndpoints, Doorway
from booking.web.endpoints.calendar import CalendarEndpoint
from booking.web.endpoints.changes import WAITERS_MAX, ChangeEndpoint, ChangeWatch
from booking.web.endpoints.events import EventEndpoints
from booking.web.endpoints.health import HealthEndpoints
from booking.web.endpoints.lists import ListEndpoints, Turns
from booking.web.endpoints.live import LiveEndpoint, Places, Watch, end_streams
from booking.web.endpoints.live_of_user import LiveOfUserEndpoint
from booking.web.endpoints.metrics import MetricsEndpoint
from booking.web.endpoints.payments import PaymentEndpoints
from booking.web.endpoints.refunds import RefundEndpoints
from booking.web.endpoints.reports import ReportEndpoints
from booking.web.endpoints.resets import ResetEndpoints
from booking.web.endpoints.sale import SaleEndpoints
from booking.web.endpoints.tickets import TicketEndpoint
from booking.web.endpoints.webhooks import WebhookEndpoints
from booking.web.local_limits import LocalBuckets
from booking.web.middleware import ExceptionMiddleware, RequestMiddleware
from booking.web.pages import PageEndpoints
from booking.web.password_limits import FAILURES, Attempts
from booking.web.root_path import RootPathMiddleware
from booking.web.routes import RouteTable, routes
from booking.web.shared_work import SharedWork
from booking.web.startup import Startup
from booking.web.tracing import Traces, traced

log = structlog.get_logger()

PASSWORD_THREADS = 2
"""Passwords checked at a time in one worker, at 19 MiB and some 25 ms each."""

GARBAGE_OBJECTS = 50_000
"""The number of new objects, about 10 MB, after which the garbage collector searches for cycles: for some 90 ms if all
of them are garbage. With fewer it would search the bookings under way more often."""

METRICS_SECONDS = 1.0
"""The interval at which a worker saves its metrics."""

EPOCHS_SECONDS = 1.0
"""The interval at which a worker reads the shards' epochs."""

TOKEN_SECONDS = 3600
"""The lifetime of a token from /auth/* (contract)."""


class Load(Protocol):
    """The server's load shedder."""

    def observe_delay(self, seconds: float, commands: int) -> None:
        """Called when a batch of `commands` commands is sent to Redis; the oldest of them has waited `seconds`."""

    def relax(self) -> int:
        """Called once a second; returns the number of requests that were rejected since the last call."""


class Application:
    """One worker's ASGI application. `lifespan` opens its clients, on the event loop that they belong to."""

    def __init__(
        self,
        settings: Settings,
        *,
        waits: bool = False,
        load: Load | None = None,
        is_draining: Callable[[], bool] = lambda: False,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """With `waits`, it starts even if Redis or the database is away, and responds with 503 until then.

        While `is_draining` returns True, the health checks respond with 503. While `is_stopping` does, no call waits
        for a change.
        """
        logs.configure(settings.log_format, settings.node)
        self._is_draining, self._is_stopping = is_draining, is_stopping
        self._settings = settings
        self._startup = Startup(self._open, waits=waits)
        self._access_log = AccessLog(
            partial(console_line, colours=logs.has_colours()) if settings.log_format == "console" else json_line,
            logs.log_stream(sys.stdout).write_bytes,
            settings.node,
        )
        self._load = load
        router = Router(redirect_slashes=False, lifespan=lambda _: self.lifespan(), default=self._startup.respond)
        self._routes = RouteTable(router)
        app: ASGIApp = self._routes
        if settings.cors_origins:
            # The exceptions inside, so that a page of another origin can read errors.
            app = CrossOriginMiddleware(ExceptionMiddleware(app), settings.cors_origins)
        app = RequestMiddleware(app, self._access_log)
        if settings.root_path:
            app = RootPathMiddleware(app, settings.root_path)
        self.asgi = traced(app, settings.telemetry)
        """The application without the method below, which costs a request another coroutine."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. A coroutine function, by which servers tell ASGI 3 from ASGI 2."""
        await self.asgi(scope, receive, send)

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Opens all clients, and closes them at the end. Raises SettingsError, InventoryUnavailable, LedgerError."""
        try:
            async with self._startup.opened():
                yield
        finally:
            self._access_log.flush()
            if isinstance(self.asgi, Traces):
                await self.asgi.flush()

    async def _open(self, stack: contextlib.AsyncExitStack) -> None:
        settings = self._settings
        ledger = Ledger.open(settings.database_address, settings.database_pool)
        stack.push_async_callback(ledger.close)
        topology = open_topology(settings.redis_address, settings.shards)
        stack.push_async_callback(topology.close)
        await topology.refresh()
        if topology.form != "server":
            log.info("where the shards are in Redis", form=topology.form, primaries=placement(topology))
        streams = ChangeStreams(topology)
        stack.push_async_callback(streams.close)
        await initialize_shards(settings, ledger, streams)
        await name_accounts(settings, ledger, streams)
        await restore_empty(settings, ledger, streams, await lost_shards(ledger, streams))
        limit = auth_limit = read_limit = None
        if settings.rate_limit == "on":
            limit = RateLimit(settings.rate_limit_burst, settings.rate_limit_per_second)
            read_limit = RateLimit(settings.read_rate_limit_burst, settings.read_rate_limit_per_second)
            auth_limit = RateLimit(settings.auth_rate_limit_per_minute, settings.auth_rate_limit_per_minute / 60)
        try:
            durability = await choose(topology, settings.ack, settings.ack_replicas)
        except LevelUnavailable as error:
            raise SettingsError(f"BOOKING_ACK: {error}") from None
        log.info("changes are acknowledged at this level", acknowledged=durability.level)
        saved: list[ReadYourWrites] = []
        waits = (lambda shard: saved[0].saved(shard)) if durability.level == "database" else None
        verifier = Verifier(ledger)
        batchers = PrimaryBatchers(
            topology,
            verified_connections(topology, verifier, durability),
            settings.queue_limit,
            waits,
            None if self._load is None else self._load.observe_delay,
        )
        epochs = await _epochs(ledger)
        verifier.use_epochs(dict(enumerate(epochs)))
        office = BoxOffice(batchers, epochs, limit, settings.persister_lag_limit)
        stack.push_async_callback(office.close)
        await office.connect()  # now, because the verifier needs the database, which is available
        reader = InventoryReader(topology, settings.shards, ANSWER_SECONDS_MAX)
        stack.push_async_callback(reader.close)
        read_your_writes = ReadYourWrites(office, ledger)
        saved.append(read_your_writes)
        passwords = Passwords(PASSWORD_THREADS)
        stack.callback(passwords.close)
        secret = settings.signing_secret()
        try:
            tokens = TokenVerifier(
                secret,
                public_key=settings.jwt_public_key,
                jwks_url=settings.jwt_jwks_url,
                issuer=settings.jwt_issuer,
                audience=settings.jwt_audience,
                leeway_seconds=settings.jwt_leeway_seconds,
                subject_prefix=settings.jwt_subject_prefix,
            )
        except ValueError as error:
            raise SettingsError(f"BOOKING_JWT_PUBLIC_KEY or BOOKING_JWT_SECRET: {error}") from None

        def sign(account: Account, began: float, login_at: int | None) -> str:
            # Not earlier than tokens are valid from, which is up to a second after the change of the account.
            issued_at = max(int(began), account.tokens_from)
            login_at = issued_at if login_at is None else login_at
            return sign_token(
                secret,
                account_user_id(account.id),
                None if account.role is Role.USER else account.role,
                min(TOKEN_SECONDS, login_at + RENEWABLE_SECONDS - issued_at),
                issuer=settings.jwt_issuer,
                audience=settings.jwt_audience,
                now=issued_at,
                login_at=login_at,
            )

        folder = settings.data_dir / FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        metrics_file = MetricsFile(folder)
        attempts = None if auth_limit is None else Attempts(office, PasswordChecks(batchers, FAILURES), auth_limit)
        find_account = ledger.find_account if settings.has_accounts else None
        account_tokens = AccountTokens(ledger.tokens_ended, ledger.tokens_from)
        await account_tokens.renew()
        credentials = Credentials(tokens, passwords, find_account, attempts, account_tokens)
        doorway = Doorway(sign, attempts)
        accounts = AccountEndpoints(ledger, office, read_your_writes, passwords, credentials, account_tokens, doorway)
        resets = ResetEndpoints(ledger, passwords, account_tokens, doorway, secret)
        places, watch = Places(settings.live_limit, settings.live_limit_per_address), Watch(office)
        reads, turns, links = LocalBuckets(read_limit, "reads"), Turns(), PaymentLinks(secret)
        work, pages_of_changes = SharedWork(), SharedWork()
        stack.push_async_callback(work.close)
        stack.push_async_callback(pages_of_changes.close)
        change_watch = ChangeWatch(ledger, self._is_stopping)
        stack.push_async_callback(change_watch.close)
        waiters = Places(WAITERS_MAX, settings.live_limit_per_address)
        webhooks = WebhookEndpoints(credentials, office, ledger, reads, Allowed(settings.webhook_allow))
        self._routes.serve(
            routes(
                SaleEndpoints(credentials, office, limit, links),
                EventEndpoints(credentials, office, reads, links),
                ListEndpoints(credentials, office, ledger, read_your_writes, reads, turns),
                ReportEndpoints(credentials, office, ledger, reader, read_your_writes, reads, work),
                RefundEndpoints(credentials, office, ledger, read_your_writes, reads, turns),
                ChangeEndpoint(credentials, office, ledger, reads, change_watch, pages_of_changes, waiters),
                webhooks,
                LiveEndpoint(credentials, office, places, watch),
                LiveOfUserEndpoint(credentials, office, places, watch, reads, ledger.live_events_of),
                TicketEndpoint(credentials, office, reads),
                CalendarEndpoint(office, reads),
                accounts if settings.has_accounts else None,
                resets if settings.has_accounts and settings.sends_mail else None,
                None if settings.stripe_secret is None else PaymentEndpoints(office, settings.stripe_secret),
                HealthEndpoints(office, reader, ledger, settings.persister_lag_limit, durability, self._is_draining),
                MetricsEndpoint(office, reader, ledger, batchers, places, self._access_log, metrics_file),
                PageEndpoints(
                    office,
                    sends_mail=settings.has_accounts and settings.sends_mail,
                    public_url=settings.public_url,
                ),
            )
        )
        tasks = [
            asyncio.create_task(sweep(office), name="sweeper"),
            asyncio.create_task(_follow_epochs(office, verifier, ledger), name="epochs"),
            asyncio.create_task(_follow_accounts(account_tokens, watch, credentials), name="accounts"),
            asyncio.create_task(_save(self._access_log, self._load, batchers.metrics, metrics_file), name="metrics"),
        ]
        stack.push_async_callback(_end, tasks)
        # The objects that exist now stay, and requests free theirs when they end. With its defaults, the garbage
        # collector would search both every few requests, which takes 8 % of a worker's time.
        gc.freeze()
        gc.set_threshold(GARBAGE_OBJECTS)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _epochs(ledger: Ledger) -> list[str]:
    records = await ledger.shards()
    return [records[shard].epoch for shard in sorted(records)]


async def _follow_epochs(office: BoxOffice, verifier: Verifier, ledger: Ledger) -> None:
    """Reads the epochs once a second, so that a restored shard sells again within a second. Runs until cancelled."""
    while True:
        await asyncio.sleep(EPOCHS_SECONDS)
        with contextlib.suppress(LedgerError):
            epochs = await _epochs(ledger)
            office.use_epochs(epochs)
            verifier.use_epochs(dict(enumerate(epochs)))


async def _follow_accounts(account_tokens: AccountTokens, watch: Watch, credentials: Credentials) -> None:
    """Reads which tokens of accounts were ended, and ends their live streams. Runs until it is cancelled."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        with contextlib.suppress(LedgerError):
            await account_tokens.renew()
        end_streams(watch, credentials)


async def _save(access_log: AccessLog, load: Load | None, metrics: Metrics, file: MetricsFile) -> None:
    """Saves the metrics once a second, so that other workers can serve them. Runs until it is cancelled."""
    while True:
        await asyncio.sleep(METRICS_SECONDS)
        access_log.collect(metrics)
        rejected = 0 if load is None else load.relax()
        if rejected:
            metrics.count("booking_sheds_total", by=rejected)
            log.warning("requests were rejected because of overload", requests=rejected)
        metrics.count("booking_log_lines_dropped_total", by=logs.take_dropped())
        await file.save(metrics)


def create_app(
    settings: Settings,
    *,
    waits: bool = False,
    load: Load | None = None,
    is_draining: Callable[[], bool] = lambda: False,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Application:
    """The application of one web worker, for any ASGI server; `load` is that server's load shedder, if it has one."""
    return Application(settings, waits=waits, load=load, is_draining=is_draining, is_stopping=is_stopping)
