"""Bookings that accounts made under their bare ids belong to the same accounts after the upgrade."""

import asyncio
import io
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from booking.domain.model import Booking, BookingStatus
from booking.domain.outcomes import Status
from booking.inventory import keys
from booking.inventory.reader import InventoryReader
from booking.inventory.restore_writer import RestoreWriter
from booking.inventory.streams import ChangeStreams
from booking.ledger.engine import open_engine
from booking.operations.audit.comparison import audit_event
from booking.operations.restore.naming import name_accounts
from booking.operations.restore.restoration import lost_shards, restore_empty
from tests.contract.api import open_api
from tests.fixtures.backend import Backend, on_sqlite
from tests.fixtures.service import running_service
from tests.fixtures.stock import SHARDS, contents

CHECKOUT = Path(__file__).parents[3]
BARE_IDS = "9cca7cd"
"""The last commit at which an account's user id was its bare number."""


@pytest.fixture
async def streams(backend: Backend) -> AsyncIterator[ChangeStreams]:
    opened = ChangeStreams(backend.settings.redis_address)
    yield opened
    await opened.close()


async def sell(backend: Backend, *, accounts: int = 3) -> None:
    """Two events, in a shard each. Accounts 1 to 3 book of the first under their bare ids, as was done before."""
    for number in range(accounts):
        email = f"a{number}@example.com"
        await backend.ledger.add_account(email, email, "hash")
    office = backend.stock.office
    await backend.stock.sale(1, capacity=3, hold_seconds=600)
    for user in ("1", "17", "2", "ann", "3", "bob"):
        await office.book(1, user)
    await office.confirm(1, "1")
    await office.cancel(1, "17")  # the first who waits, "ann", gets it
    await backend.stock.sale(2, capacity=5)
    await office.book(2, "17")


async def age(backend: Backend) -> None:
    """The migrated database of the older version: no shard's accounts are renamed yet."""
    engine = open_engine(backend.settings.database_address)
    try:
        async with engine.execution_options(writing=True).begin() as connection:
            await connection.execute(text("UPDATE shards SET accounts_named = false"))
    finally:
        await engine.dispose()


async def upgrade(backend: Backend, streams: ChangeStreams) -> None:
    """Does what a worker does at its start."""
    await name_accounts(backend.settings, backend.ledger, streams)
    await restore_empty(backend.settings, backend.ledger, streams, await lost_shards(backend.ledger, streams))
    records = await backend.ledger.shards()
    backend.stock.office.use_epochs([records[one].epoch for one in sorted(records)])


async def live(backend: Backend, event_id: int) -> list[Booking]:
    return [booking async for booking in backend.ledger.live_bookings(event_id)]


async def check_upgraded(backend: Backend, streams: ChangeStreams, before: list[Booking]) -> None:
    """Checks that only the users of bookings changed, that both sides agree, and that the sale continues."""
    assert await lost_shards(backend.ledger, streams) == []
    assert all(record.accounts_named for record in (await backend.ledger.shards()).values())
    await backend.drain()
    after = await live(backend, 1)
    named = [f"account:{one.user_id}" if one.user_id in ("1", "2", "3") else one.user_id for one in before]
    assert [one.user_id for one in after] == named
    assert [(one.number, one.status, one.quantity, one.created_at_ms) for one in after] == [
        (one.number, one.status, one.quantity, one.created_at_ms) for one in before
    ]
    _, _, waiting, *_ = keys.event_keys(1, SHARDS)
    assert await backend.stock.redis.zrange(waiting, 0, -1) == [b"account:3", b"bob"]
    reader = InventoryReader(backend.settings.redis_address, SHARDS)
    try:
        for event_id in (1, 2):
            assert (await audit_event(reader, backend.ledger, event_id)).differences == []
    finally:
        await reader.close()
    await backend.check_both_sides_agree(events=(1, 2))
    office = backend.stock.office
    assert (await office.book(1, "account:1")).status is Status.ALREADY_BOOKED
    assert (await office.get_booking(1, "1")).status is Status.BOOKING_NOT_FOUND
    cancelled = await office.cancel(1, "account:2")
    assert cancelled.status is Status.CANCELLED
    promoted = (await office.get_booking(1, "account:3")).booking
    assert promoted is not None
    assert promoted.status is BookingStatus.HELD


async def test_only_the_bookings_of_accounts_are_renamed(backend: Backend, streams: ChangeStreams) -> None:
    await sell(backend)
    await backend.drain()
    await age(backend)
    before, (_, other) = await live(backend, 1), [(await backend.ledger.shards())[shard] for shard in (1, 0)]
    event = await backend.stock.office.get_event(1)
    await upgrade(backend, streams)
    after = await backend.stock.office.get_event(1)
    assert event is not None
    assert after is not None
    assert (after.available, after.tickets_held, after.tickets_sold, after.waiting_count, after.seq) == (
        event.available, event.tickets_held, event.tickets_sold, event.waiting_count, event.seq
    )  # fmt: skip
    assert (await backend.ledger.shards())[0].epoch == other.epoch, "something was done although no account had booked"
    await check_upgraded(backend, streams, before)
    records = await backend.ledger.shards()
    await upgrade(backend, streams)
    assert await backend.ledger.shards() == records, "it is done once"


async def test_changes_that_only_redis_has_are_persisted_first(backend: Backend, streams: ChangeStreams) -> None:
    await sell(backend)
    await age(backend)
    await upgrade(backend, streams)
    before = await live(backend, 1)
    assert [one.user_id for one in before] == ["account:1", "account:2", "ann", "account:3", "bob"]
    await check_upgraded(backend, streams, [*before])


async def test_a_database_without_accounts_costs_no_restoration(backend: Backend, streams: ChangeStreams) -> None:
    await sell(backend, accounts=0)
    await age(backend)
    before, stood = await contents(backend.stock.redis), await backend.ledger.shards()
    await upgrade(backend, streams)
    assert await contents(backend.stock.redis) == before
    found = await backend.ledger.shards()
    assert [(one.epoch, one.accounts_named) for one in found.values()] == [(one.epoch, True) for one in stood.values()]


@on_sqlite
@pytest.mark.parametrize("step", ["fence", "clear", "write_event", "finish"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_interrupted_rename_is_finished_by_the_next_start(
    backend: Backend, streams: ChangeStreams, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    await sell(backend)
    await backend.drain()
    await age(backend)
    before = await live(backend, 1)

    class Killed(BaseException):
        pass

    async def killed(rebuild: RestoreWriter, *arguments: object) -> None:
        if when == "after":
            await really(rebuild, *arguments)
        raise Killed

    with monkeypatch.context() as patch:
        really = getattr(RestoreWriter, step)
        patch.setattr(RestoreWriter, step, killed)
        patch.setattr(RestoreWriter, "give_lease_back", lambda _: asyncio.sleep(0))
        with pytest.raises(Killed):
            await upgrade(backend, streams)
    await backend.stock.redis.delete(keys.restoring(1))  # as it would be some seconds later
    await upgrade(backend, streams)
    await check_upgraded(backend, streams, before)


async def test_many_processes_that_start_at_once_rename_once(backend: Backend, streams: ChangeStreams) -> None:
    await sell(backend)
    await age(backend)
    await asyncio.gather(*(upgrade(backend, streams) for _ in range(6)))
    before = await live(backend, 1)
    await check_upgraded(backend, streams, before)


async def test_a_change_that_the_database_refuses_is_never_dropped_silently(
    backend: Backend, streams: ChangeStreams
) -> None:
    await sell(backend)
    await backend.drain()
    await age(backend)
    await backend.stock.redis.xadd(keys.changes(1), {"c": "no change"})
    kept = await live(backend, 1)
    for _ in range(2):
        await upgrade(backend, streams)
        assert await lost_shards(backend.ledger, streams) == [1]
        assert await live(backend, 1) == kept
        assert await backend.stock.redis.xlen(keys.changes(1)) == 1


async def test_a_redis_with_another_epoch_is_not_changed(backend: Backend, streams: ChangeStreams) -> None:
    await sell(backend)
    await backend.drain()
    await age(backend)
    await backend.stock.redis.set(keys.epoch(1), "another's")
    before = await contents(backend.stock.redis)
    await upgrade(backend, streams)
    assert await contents(backend.stock.redis) == before


def test_a_service_of_the_older_version_is_upgraded_by_its_next_start(tmp_path: Path) -> None:
    archive = subprocess.run(
        ["git", "archive", BARE_IDS, "booking", "lua"], cwd=CHECKOUT, capture_output=True, check=False
    )
    if archive.returncode != 0:
        pytest.skip("there is no history here to take the older version from")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        # Python before 3.11.4, as Debian 12 has it, knows no filter.
        files.extraction_filter = getattr(tarfile, "data_filter", None)
        files.extractall(tmp_path / "old")
    settings = {"BOOKING_RATE_LIMIT": "off"}
    # A safe path, or the folder of these tests would come first.
    older = {**settings, "PYTHONPATH": str(tmp_path / "old"), "PYTHONSAFEPATH": "1"}
    with running_service(tmp_path / "data", older) as service:
        with open_api(service) as api:

            def post(path: str, body: dict[str, object], authorization: str | None = None) -> Any:
                """An answer of the older version, which is not held to this version's document."""
                headers = {} if authorization is None else {"Authorization": authorization}
                answer = api.http.post(path, json=body, headers=headers)
                assert answer.status_code < 300, answer.text
                return answer.json()

            rules: dict[str, object] = {"event_name": "Night", "available_tickets": 2}
            event_id = post("/initialize", rules, api.organizer.authorization)["event_id"]
            book = {"event_id": event_id}
            body = [{"email": f"a{number}@example.com", "password": "long enough"} for number in range(3)]
            tokens = [post("/auth/register", {**one})["data"]["token"] for one in body]
            made = [post("/book", book, f"Bearer {token}")["data"] for token in tokens]
            assert [one["user_id"] for one in made] == ["1", "2", "3"], "the older version runs"
            assert post("/book", book, api.user("guest").authorization)["data"]["status"] == "waiting"
        assert service.stop() == 0
        service.environment = settings
        service.start()
        with open_api(service) as api:
            callers = [api.with_token(api.anyone.post("/auth/login", one).data["token"]) for one in body]
            for number, (caller, booked) in enumerate(zip(callers, made, strict=True), 1):
                assert caller.booking(event_id).data == {**booked, "user_id": f"account:{number}"}
            assert api.user("1").booking(event_id).status == 404
            assert callers[0].cancel(event_id).status == 200
            assert callers[2].booking(event_id).data["status"] == "confirmed"
            assert api.organizer.get(f"/events/{event_id}/audit").status == 403, "older events are the administrators'"
            admin = api.bearer("the-admin", {**api.claims("the-admin"), "role": "admin"})
            audit = admin.get(f"/events/{event_id}/audit").data
            assert (audit["ok"], audit["differences"]) == (True, [])
