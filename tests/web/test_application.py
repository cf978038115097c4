"""One worker's application in this process: what cannot be seen from outside, from its start to its last log line."""

import asyncio
import base64
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from booking.auth.plain_tokens import ORGANIZER
from booking.auth.tokens import sign_token
from booking.inventory import keys
from booking.ledger import migrate
from booking.persister.persister import run
from booking.settings import Settings, SettingsError
from booking.web import app as module
from booking.web.access_log import AccessLog, json_line
from booking.web.app import Application, create_app
from tests.fixtures.proxy import lossy_proxy
from tests.fixtures.stock import SHARDS
from tests.fixtures.valkey import running_valkey

SECRET = "the secret of these tests, of more than 32 bytes"
EMAIL, PASSWORD = "zoe@example.com", "a password to keep"


def token(user: str, role: str | None = None) -> str:
    return sign_token(SECRET.encode(), user, role, 600)


class Worker:
    """A running application, and its log."""

    def __init__(self, settings: Settings, client: httpx.AsyncClient, log: Path, access: AccessLog) -> None:
        self.settings = settings
        self.client = client
        self._log = log
        self._access = access

    async def call(
        self, method: str, path: str, user: str | None = None, role: str | None = None, **more: Any
    ) -> httpx.Response:
        headers = dict(more.pop("headers", {}))
        if user is not None:
            headers["Authorization"] = f"Bearer {token(user, role)}"
        return await self.client.request(method, path, headers=headers, **more)

    async def open_sale(self, **rules: Any) -> int:
        body = {"event_name": "Opening night", "available_tickets": 5, **rules}
        answer = await self.call("POST", "/initialize", "boss", ORGANIZER, json=body)
        assert answer.status_code == 201, answer.text
        event_id: int = answer.json()["event_id"]
        return event_id

    def log(self) -> bytes:
        self._access.flush()
        return self._log.read_bytes()

    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.log().splitlines()]


@asynccontextmanager
async def running(
    monkeypatch: pytest.MonkeyPatch, folder: Path, redis_url: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Worker]:
    """Runs the application's lifespan by hand, as uvicorn does around the requests."""
    monkeypatch.setattr("booking.logs.configure", lambda *_: None)  # pytest's own output is not the service's
    settings = Settings.read(
        {
            "BOOKING_REDIS_URL": redis_url,
            "BOOKING_DATA_DIR": str(folder),
            "BOOKING_SHARDS": str(SHARDS),
            "BOOKING_JWT_SECRET": SECRET,
            **(environment or {}),
        }
    )
    await migrate(settings.database_address)
    with (folder / "access.log").open("wb", buffering=0) as log:
        access = AccessLog(json_line, log.write, "node-1")
        monkeypatch.setattr(module, "AccessLog", lambda *_: access)
        application = Application(settings)
        async with application.lifespan():
            transport = httpx.ASGITransport(application, client=("192.0.2.7", 4711))
            async with httpx.AsyncClient(transport=transport, base_url="http://booking.test") as client:
                yield Worker(settings, client, folder / "access.log", access)


@pytest.fixture
async def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_valkey: str) -> AsyncIterator[Worker]:
    async with running(monkeypatch, tmp_path, clean_valkey) as opened:
        yield opened


async def test_a_buyers_way_through_the_application(worker: Worker) -> None:
    event_id = await worker.open_sale(available_tickets=1)
    booked = await worker.call("POST", "/book", "ann", json={"event_id": event_id})
    assert (booked.status_code, booked.headers["location"]) == (201, f"/events/{event_id}/booking")
    joined = await worker.call("POST", "/book", "bob", json={"event_id": event_id})
    assert (joined.status_code, joined.json()["data"]["position"]) == (202, 1)
    assert (await worker.call("POST", "/cancel", "ann", json={"event_id": event_id})).status_code == 200
    mine = await worker.call("GET", f"/events/{event_id}/booking", "bob")
    assert (mine.json()["data"]["status"], mine.json()["data"]["source"]) == ("confirmed", "waitlist")


async def test_the_log_has_each_request_and_no_secret(worker: Worker) -> None:
    event_id = await worker.open_sale()
    credentials = {"email": EMAIL, "password": PASSWORD}
    registered = await worker.call("POST", "/auth/register", json=credentials)
    assert registered.status_code == 201
    await worker.call("POST", "/auth/login", json={**credentials, "password": "a wrong password"})
    given = registered.json()["data"]["token"]
    await worker.client.get(f"/events/{event_id}/booking", headers={"Authorization": f"Bearer {given}"})
    basic = base64.b64encode(f"{EMAIL}:{PASSWORD}".encode()).decode()
    await worker.client.post("/book", json={"event_id": event_id}, headers={"Authorization": f"Basic {basic}"})
    await worker.client.post("/book", json={"event_id": event_id}, headers={"Authorization": "Bearer forged.hush.x"})
    await worker.call("GET", f"/nowhere/{EMAIL}?token=hush")
    await worker.call("DELETE", "/book")
    text = worker.log().decode()
    for secret in (EMAIL, PASSWORD, "a wrong password", given, basic, "hush", "zoe", token("boss", ORGANIZER)):
        assert secret not in text
    told = [(line["method"], line["route"], line["status"], line["user"]) for line in worker.lines()]
    user = f"account:{registered.json()['data']['user']['id']}"
    assert told == [
        ("POST", "/initialize", 201, "boss"),
        ("POST", "/auth/register", 201, user),
        ("POST", "/auth/login", 401, None),
        ("GET", "/events/{event_id}/booking", 404, user),
        ("POST", "/book", 201, user),
        ("POST", "/book", 401, None),
        ("GET", None, 404, None),
        ("DELETE", "/book", 405, None),
    ]


async def test_a_reader_with_the_newest_version_gets_304(worker: Worker) -> None:
    event_id = await worker.open_sale()
    first = await worker.call("GET", f"/events/{event_id}")
    etag = first.headers["etag"]
    for header in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await worker.call("GET", f"/events/{event_id}", headers={"If-None-Match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    await worker.call("POST", "/book", "ann", json={"event_id": event_id})
    changed = await worker.call("GET", f"/events/{event_id}", headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


async def test_cached_answers_never_outlive_a_change(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("booking.web.endpoints.events.RENDERED_MAX", 2)
    ids = [await worker.open_sale(event_name=f"Night {number}") for number in range(4)]
    for event_id in ids * 2:
        await worker.call("POST", "/book", f"buyer-{event_id}", json={"event_id": event_id})
        data = (await worker.call("GET", f"/status/{event_id}")).json()["data"]
        assert (data["id"], data["available_tickets"], data["seq"]) == (event_id, 4, 2)


async def test_head_is_answered_exactly_where_get_is(worker: Worker) -> None:
    event_id = await worker.open_sale()
    for path in (f"/status/{event_id}", f"/events/{event_id}", "/events", "/healthz", "/readyz"):
        assert (await worker.call("HEAD", path)).status_code == (await worker.call("GET", path)).status_code
    assert (await worker.call("HEAD", "/book")).status_code == 405


async def test_readyz_reports_the_lag_until_sql_has_every_change(worker: Worker) -> None:
    await worker.open_sale()
    answer = await worker.call("GET", "/readyz")
    assert answer.status_code == 200
    parts = answer.json()["parts"]
    assert (parts["persister"]["lag_entries"], parts["persister"]["ok"]) == (1, True)
    assert parts["persister"]["lag_seconds"] >= 0
    stop = asyncio.Event()
    stop.set()
    await run(worker.settings, stop)
    parts = (await worker.call("GET", "/readyz")).json()["parts"]
    assert (parts["persister"]["lag_entries"], parts["persister"]["lag_seconds"]) == (0, 0.0)


async def test_readyz_names_the_failing_part(
    worker: Worker, clean_valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = await worker.open_sale()
    redis: Any = Redis.from_url(clean_valkey, protocol=2)
    try:
        # An old entry that has not been persisted.
        changes = keys.changes(event_id % SHARDS)
        await redis.delete(changes)
        await redis.xadd(changes, {"c": "1 1 left over"}, id="1-1")
        answer = await worker.call("GET", "/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        parts = answer.json()["parts"]
        assert [name for name, part in parts.items() if not part["ok"]] == ["persister"]
        await redis.delete(changes)
        await redis.set(keys.epoch(1), "another")
        parts = (await worker.call("GET", "/readyz")).json()["parts"]
        assert parts["redis"]["lost"] == [1]
        assert not parts["redis"]["ok"]
        lost = next(number for number in range(1, 9) if number % SHARDS == 1)
        refused = await worker.call("POST", "/book", "ann", json={"event_id": lost})
        assert (refused.status_code, refused.json()["code"]) == (503, "inventory_unavailable")
        await redis.set(changes, "planted")
        parts = (await worker.call("GET", "/readyz")).json()["parts"]
        assert parts["redis"]["away"] == [event_id % SHARDS]
        for shard in range(SHARDS):
            await redis.set(keys.changes(shard), "planted")
        answer = await worker.call("GET", "/readyz")
        assert answer.status_code == 503
        assert answer.json()["parts"]["redis"] == {"ok": False, "reason": "Redis does not answer"}
        assert answer.json()["parts"]["persister"]["lag_entries"] is None
        assert (await worker.call("GET", "/healthz")).json() == {"status": "alive"}
    finally:
        await redis.aclose()


async def drop_selling_connection(worker: Worker, redis: Any) -> None:
    """Closes the worker's connection for scripts, and returns when the worker knows it. Its other connections stay."""
    selling = [client["id"] for client in await redis.client_list() if client["cmd"] == "evalsha"]
    assert len(selling) == 1
    await redis.client_kill_filter(_id=selling[0])
    await worker.call("GET", "/status/1")


@asynccontextmanager
async def without_database(worker: Worker) -> AsyncIterator[None]:
    """Takes the database away; at the end it is back."""
    with closing(sqlite3.connect(worker.settings.data_dir / "booking.sqlite3")) as connection:
        connection.execute("ALTER TABLE shards RENAME TO gone")
        yield
        connection.execute("ALTER TABLE gone RENAME TO shards")


async def test_sales_go_on_if_the_connection_drops_while_the_database_is_away(
    worker: Worker, clean_valkey: str
) -> None:
    event_id = await worker.open_sale()
    async with Redis.from_url(clean_valkey, protocol=2) as redis, without_database(worker):
        for user in ("ann", "bob"):
            await drop_selling_connection(worker, redis)
            booked = await worker.call("POST", "/book", user, json={"event_id": event_id})
            assert booked.status_code == 201, booked.text
        parts = (await worker.call("GET", "/readyz")).json()["parts"]
        assert (parts["redis"]["ok"], parts["database"]["ok"]) == (True, False)


async def test_another_server_sells_nothing_before_it_was_compared_with_the_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_valkey: str
) -> None:
    with running_valkey() as other:
        async with (
            lossy_proxy(clean_valkey) as front,
            Redis.from_url(clean_valkey, protocol=2) as redis,
            Redis.from_url(other.address, protocol=2) as copy,
            running(monkeypatch, tmp_path, front.address) as worker,
        ):
            event_id = await worker.open_sale()
            await copy_all(redis, copy)
            front.lead_to(other.socket)
            await drop_selling_connection(worker, redis)
            async with without_database(worker):
                refused = await worker.call("POST", "/book", "ann", json={"event_id": event_id})
                assert (refused.status_code, refused.json()["code"]) == (503, "inventory_unavailable")
                assert "database" in refused.json()["detail"]
                reason = (await worker.call("GET", "/readyz")).json()["parts"]["redis"]["reason"]
                assert reason == "Redis answers, but it cannot be compared with the database, which is away"
            booked = await worker.call("POST", "/book", "ann", json={"event_id": event_id})
            assert booked.status_code == 201, "the other server has every change"


async def copy_all(source: Any, target: Any) -> None:
    """Copies every key, as a replica or a backup has them at that time."""
    for key in await source.keys("*"):
        await target.restore(key, 0, await source.dump(key))


async def test_nothing_is_sold_from_an_old_copy_to_which_only_the_selling_connection_leads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_valkey: str
) -> None:
    with running_valkey() as other:
        async with (
            lossy_proxy(clean_valkey) as front,
            Redis.from_url(clean_valkey, protocol=2) as redis,
            Redis.from_url(other.address, protocol=2) as copy,
            running(monkeypatch, tmp_path, front.address) as worker,
        ):
            event_id = await worker.open_sale()
            await copy_all(redis, copy)
            assert (await worker.call("POST", "/book", "ann", json={"event_id": event_id})).status_code == 201
            stop = asyncio.Event()
            stop.set()
            await run(worker.settings.model_copy(update={"redis_url": clean_valkey}), stop)
            changes = keys.changes(event_id % SHARDS)
            entries = await copy.xlen(changes)
            front.lead_to(other.socket)
            await drop_selling_connection(worker, redis)
            refused = await worker.call("POST", "/book", "bob", json={"event_id": event_id})
            assert (refused.status_code, refused.json()["code"]) == (503, "inventory_unavailable")
            assert await copy.xlen(changes) == entries, "a ticket was sold from the old copy"
            assert (await worker.call("GET", "/readyz")).json()["parts"]["redis"]["lost"] == [event_id % SHARDS]


async def test_a_primary_that_lacks_the_replicas_it_needs_is_not_ready(worker: Worker, clean_valkey: str) -> None:
    async with Redis.from_url(clean_valkey, protocol=2) as redis:
        assert (await worker.call("GET", "/readyz")).status_code == 200
        await redis.config_set("min-replicas-to-write", 1)
        try:
            answer = await worker.call("GET", "/readyz")
        finally:
            await redis.config_set("min-replicas-to-write", 0)
    assert answer.status_code == 503
    assert answer.json()["parts"]["redis"]["reason"].startswith("Redis has 0 replicas that keep up, and 1 have to")


async def test_readyz_reports_an_unreachable_database(worker: Worker) -> None:
    database = worker.settings.data_dir / "booking.sqlite3"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("ALTER TABLE shards RENAME TO gone")
    answer = await worker.call("GET", "/readyz")
    assert answer.status_code == 503
    assert answer.json()["parts"]["database"]["ok"] is False
    assert answer.json()["parts"]["redis"]["ok"] is True


async def test_password_attempts_of_one_address_are_limited(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_valkey: str
) -> None:
    limits = {"BOOKING_AUTH_RATE_LIMIT_PER_MINUTE": "2"}
    async with running(monkeypatch, tmp_path, clean_valkey, limits) as worker:
        answers = [await worker.call("POST", "/auth/login", json={}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [422, 422, 429]
        assert answers[2].headers["ratelimit-policy"] == '"auth";q=2;w=60'
        assert int(answers[2].headers["retry-after"]) >= 1


async def test_an_invalid_call_uses_the_rate_bucket_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_valkey: str
) -> None:
    limits = {"BOOKING_RATE_LIMIT_BURST": "2", "BOOKING_RATE_LIMIT_PER_SECOND": "0.01"}
    async with running(monkeypatch, tmp_path, clean_valkey, limits) as worker:
        for body, event in ((b"{", None), (b'{"event_id": 7, "x": 1}', 7)):
            codes = [(await worker.call("POST", "/book", "ann", content=body)).json()["code"] for _ in range(3)]
            assert codes[2] == "rate_limited", event
            assert "rate_limited" not in codes[:2]
        assert (await worker.call("POST", "/book", "bob", content=b"{")).json()["code"] == "malformed_json"


async def test_without_limits_nothing_is_limited(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_valkey: str
) -> None:
    async with running(monkeypatch, tmp_path, clean_valkey, {"BOOKING_RATE_LIMIT": "off"}) as worker:
        codes = {(await worker.call("POST", "/book", "ann", content=b"{")).status_code for _ in range(40)}
        codes |= {(await worker.call("POST", "/auth/login", json={})).status_code for _ in range(80)}
        assert codes == {400, 422}


async def test_other_origins_may_read_every_answer_if_they_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_valkey: str
) -> None:
    shop = {"BOOKING_CORS_ORIGINS": "https://shop.example.com"}
    async with running(monkeypatch, tmp_path, clean_valkey, shop) as worker:
        origin = {"Origin": "https://shop.example.com"}
        for path, status in (("/events", 200), ("/nowhere", 404), ("/status/77", 404), ("/events?limit=0", 422)):
            answer = await worker.call("GET", path, headers=origin)
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "https://shop.example.com"
            assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize("key", ["-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----"])
async def test_a_public_key_that_is_none_ends_the_start_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_valkey: str, key: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        async with running(monkeypatch, tmp_path, clean_valkey, {"BOOKING_JWT_PUBLIC_KEY": key}):
            pass
    assert "BOOKING_JWT_PUBLIC_KEY" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_application_is_made_without_touching_anything(tmp_path: Path) -> None:
    settings = Settings.read({"BOOKING_DATA_DIR": str(tmp_path / "none"), "BOOKING_LOG_FORMAT": "console"})
    assert callable(create_app(settings))
    assert not (tmp_path / "none").exists()
