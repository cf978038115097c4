"""Faults between a worker and a real Redis give a clear error, and each change is made whole or not at all."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from booking.domain.outcomes import IdempotencyKey, Outcome, Status
from booking.inventory import keys
from booking.inventory.batcher import PreparedCall
from booking.inventory.box_office import RateLimit
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, ShardFenced
from booking.inventory.password_checks import PasswordChecks
from booking.inventory.raw_connection import Argument
from booking.inventory.script_connection import ANSWER_SECONDS_MAX, Acknowledged, Execute, ScriptCall, ScriptConnection
from booking.inventory.scripts import load
from tests.fixtures.proxy import LossyProxy, lossy_proxy
from tests.fixtures.stock import EPOCHS, SHARDS, Stock, contents, open_stock
from tests.fixtures.valkey import ValkeyServer, running_valkey
from tests.fixtures.waiting import PATIENCE_SECONDS, eventually_async

PAUSE_MS = 60_000
"""Ended by CLIENT UNPAUSE; only a bound."""


@pytest.fixture
async def proxy(clean_valkey: str) -> AsyncIterator[LossyProxy]:
    async with lossy_proxy(clean_valkey) as running:
        yield running


@pytest.fixture
async def remote(proxy: LossyProxy, clean_valkey: str) -> AsyncIterator[Stock]:
    """An inventory behind a proxy that can lose replies."""
    async with open_stock(proxy.address, behind=clean_valkey) as opened:
        yield opened


@pytest.fixture
async def server() -> AsyncIterator[ValkeyServer]:
    """A server of the test's own, to stop, fill or demote."""
    with running_valkey("--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024") as running:
        yield running


@pytest.fixture
async def own(server: ValkeyServer) -> AsyncIterator[Stock]:
    async with open_stock(server.address) as opened:
        yield opened


def call(verb: str, event_id: int, *items: Argument) -> ScriptCall:
    """One EVALSHA as the batcher would send it, for items without a rate limit and idempotency key."""
    script = load(verb)
    head: dict[str, Argument] = {"interval_us": 1, "burst": 1, "unsaved_limit": 1_000_000, "caller": ""}
    arguments = (EPOCHS[event_id % SHARDS], event_id, *(head[name] for name in script.header.arguments[2:]))
    target = PreparedCall(script, keys.event_keys(event_id, SHARDS)[: len(script.header.keys)], arguments)
    return ScriptCall(target.script, target.keys, [*target.head, *items])


async def exchanged(connection: ScriptConnection, *calls: ScriptCall) -> bool:
    """Sends calls over a connection of the test's own. Returns True if the connection was lost."""
    lost: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    connection.exchange(calls, lost.set_result)
    return await lost


def test_a_call_gives_up_before_the_two_seconds_of_the_contract() -> None:
    assert ANSWER_SECONDS_MAX < 2


async def test_a_change_whose_reply_is_lost_is_unknown_made_once_and_replayed(remote: Stock, proxy: LossyProxy) -> None:
    await remote.sale()
    proxy.lose_after(0)
    key = IdempotencyKey("ann's key", "first-request")
    with pytest.raises(OutcomeUnknown):
        await remote.office.book(1, "ann", 2, key)
    proxy.heal()
    assert [entry.split(" ")[2] for entry in await remote.entries()] == ["created", "booked"]
    again = await remote.office.book(1, "ann", 2, IdempotencyKey("ann's key", "second-request"))
    assert (again.status, again.first_request_id) == (Status.BOOKED, "first-request")
    assert len(await remote.entries()) == 2
    event = await remote.office.get_event(1)
    assert event is not None
    assert (event.tickets_sold, event.available) == (2, 8)


async def test_replies_cut_at_any_byte_never_double_a_change_or_give_a_false_answer(
    remote: Stock, proxy: LossyProxy
) -> None:
    for event_id in (1, 2, 3):
        await remote.sale(event_id, capacity=10_000)
    await remote.office.last_event_id()

    async def batch(name: str) -> list[Outcome | BaseException]:
        return await asyncio.gather(
            *(remote.office.book(event_id, f"{name}-{event_id}") for event_id in (1, 2, 3)), return_exceptions=True
        )

    proxy.lose_after(10**9)
    await batch("whole")
    whole = proxy.reply_bytes
    assert whole > 100
    for cut in range(0, whole, 7):
        proxy.heal()
        await remote.office.get_event(1)  # connects first, so that only replies of the batch are cut
        proxy.lose_after(cut)
        outcomes = await batch(f"cut-{cut}")
        assert isinstance(outcomes[-1], OutcomeUnknown), "the last reply was not cut"
        for event_id, outcome in zip((1, 2, 3), outcomes, strict=True):
            user = f"cut-{cut}-{event_id}"
            entries = [entry for entry in await remote.entries(event_id) if entry.endswith(f" {user}")]
            assert len(entries) == 1, f"{user} of {cut} bytes"
            if not isinstance(outcome, OutcomeUnknown):
                assert isinstance(outcome, Outcome)
                assert outcome.booking is not None
                assert outcome.booking.user_id == user


async def test_a_read_whose_reply_is_lost_is_unavailable_and_not_unknown(remote: Stock, proxy: LossyProxy) -> None:
    await remote.sale()
    for reading in (
        lambda: remote.office.get_event(1),
        lambda: remote.office.get_booking(1, "ann"),
        remote.office.last_event_id,
        remote.office.lags,
    ):
        proxy.lose_after(0)
        with pytest.raises(InventoryUnavailable):
            await reading()
        proxy.heal()


async def test_if_the_server_is_silent_no_caller_waits_on_and_none_queued_is_sent(
    remote: Stock, proxy: LossyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await remote.sale()
    exchange, exchanges = remote.connection.exchange, 0

    def counted(calls: Sequence[ScriptCall], answered: Callable[[bool], None], *_: float) -> None:
        nonlocal exchanges
        exchanges += 1
        exchange(calls, answered)

    monkeypatch.setattr(remote.connection, "exchange", counted)
    proxy.lose_after(0, hang=True)
    sent = asyncio.create_task(remote.office.book(1, "sent"))
    await eventually_async(lambda: proxy.reply_bytes > 0, "the server has answered")
    queued = [asyncio.create_task(remote.office.book(1, f"queued-{number}")) for number in range(20)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        outcomes = await asyncio.gather(sent, *queued, return_exceptions=True)
    assert isinstance(outcomes[0], OutcomeUnknown)
    assert all(isinstance(outcome, InventoryUnavailable) for outcome in outcomes[1:])
    assert exchanges == 1, "queued commands waited for a second timeout"
    proxy.heal()
    assert [entry.split(" ")[-1] for entry in (await remote.entries())[1:]] == ["sent"]
    assert (await remote.office.book(1, "sent")).status is Status.ALREADY_BOOKED


async def test_scripts_that_are_flushed_again_and_again_cost_no_refusal(stock: Stock) -> None:
    await stock.sale(capacity=1_000)
    stop = asyncio.Event()

    async def forget() -> None:
        while not stop.is_set():
            await stock.redis.script_flush()
            await asyncio.sleep(0)

    forgetting = asyncio.create_task(forget())
    try:
        for round_ in range(30):
            users = [f"buyer-{round_}-{number}" for number in range(5)]
            outcomes = await asyncio.gather(*(stock.office.book(1, user) for user in users))
            assert {outcome.status for outcome in outcomes} == {Status.BOOKED}
    finally:
        stop.set()
        await forgetting
    booked = [entry.split(" ")[-1] for entry in (await stock.entries())[1:]]
    assert sorted(booked) == sorted(f"buyer-{round_}-{number}" for round_ in range(30) for number in range(5))


async def test_a_script_flushed_during_a_pipeline_runs_once_like_its_neighbours(
    stock: Stock, clean_valkey: str
) -> None:
    await stock.sale()
    await stock.office.book(1, "ann")
    connection = ScriptConnection(clean_valkey, [load("book"), load("cancel"), load("get_event")])
    try:
        await exchanged(connection, call("get_event", 1))
        await stock.redis.script_flush()
        await stock.redis.script_load(load("book").source.decode())
        calls = [
            call("book", 1, "bob", 1, 0, ""),
            call("cancel", 1, "ann", "", "", "", 0, ""),
            call("book", 1, "cid", 1, 0, ""),
        ]
        assert await exchanged(connection, *calls) is False
    finally:
        await connection.close()
    assert [one.answer[0][0] for one in calls if isinstance(one.answer, list)] == [
        Status.BOOKED, Status.CANCELLED, Status.BOOKED,
    ]  # fmt: skip
    entries = sorted(tuple(entry.split(" ")[2::9]) for entry in (await stock.entries())[1:])
    assert entries == [("booked", "ann"), ("booked", "bob"), ("booked", "cid"), ("cancelled", "ann")]


async def test_a_replica_refuses_and_changes_nothing(own: Stock) -> None:
    await own.sale()
    await own.office.book(1, "ann")
    before = await contents(own.redis)
    await own.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    for change in (own.office.book(1, "bob"), own.office.cancel(1, "ann"), own.sale(2)):
        with pytest.raises(InventoryUnavailable):
            await change
    assert await contents(own.redis) == before
    await own.redis.execute_command("REPLICAOF", "NO", "ONE")
    assert (await own.office.book(1, "bob")).status is Status.BOOKED


async def test_a_server_busy_with_another_script_refuses_and_changes_nothing(own: Stock, server: ValkeyServer) -> None:
    await own.sale()
    await own.redis.config_set("busy-reply-threshold", 20)
    other: Any = Redis.from_url(server.address, protocol=2, socket_timeout=PATIENCE_SECONDS)
    spinning = asyncio.create_task(other.eval("while true do end", 0))

    async def is_busy() -> bool:
        try:
            await own.redis.ping()
        except ResponseError as error:
            return "BUSY" in str(error)
        return False

    await eventually_async(is_busy, "the server is busy with the script")
    with pytest.raises(InventoryUnavailable, match="BUSY"):
        await own.office.book(1, "ann")
    await own.redis.script_kill()
    with pytest.raises(ResponseError, match="killed"):
        await spinning
    await other.aclose()
    assert len(await own.entries()) == 1
    assert (await own.office.book(1, "ann")).status is Status.BOOKED


async def test_a_server_that_is_loading_refuses_and_changes_nothing(own: Stock) -> None:
    await own.sale(1)
    await own.sale(2)
    for number in range(60):
        await own.redis.set(f"ballast:{number}", "x" * 4_000 + str(number))
    await own.redis.config_set("key-load-delay", 10_000)
    refused = 0
    reloading = asyncio.create_task(own.redis.execute_command("DEBUG", "RELOAD"))
    number = 0
    while not reloading.done():
        number += 1
        outcomes = await asyncio.gather(
            *(own.office.book(event_id, f"buyer-{number}") for event_id in (1, 2)), return_exceptions=True
        )
        for outcome in outcomes:
            assert not isinstance(outcome, OutcomeUnknown), "LOADING means that nothing ran"
            if isinstance(outcome, Outcome):
                assert outcome.status in (Status.BOOKED, Status.JOINED)
            else:
                assert isinstance(outcome, InventoryUnavailable)
                refused += 1
        await asyncio.sleep(0.01)
    await reloading
    assert refused, "the reload ended before a call was made"
    entries = [entry.split(" ")[2] for event_id in (1, 2) for entry in await own.entries(event_id)]
    assert sum(kind in ("booked", "joined") for kind in entries) == 2 * number - refused


async def test_a_full_memory_refuses_bookings_whole_and_still_takes_cancellations(own: Stock) -> None:
    await own.sale(1, capacity=100_000)
    held = await own.sale(2, capacity=100_000, hold_seconds=60)
    line = await own.sale(3, capacity=1)
    for number in range(20):
        await own.office.book(1, f"early-{number}")
        await own.office.book(held, f"early-{number}")
        await own.office.book(line, f"early-{number}")
    used = int((await own.redis.info("memory"))["used_memory"])
    await own.redis.config_set("maxmemory", used + 20_000)
    refused = False
    for number in range(2_000):
        before = await contents(own.redis) if number % 50 == 0 or refused else None
        try:
            await own.office.book(1, f"late-{number}", 1, IdempotencyKey(f"key-{number}", "request"))
        except InventoryUnavailable:
            refused = True
            if before is not None:
                assert await contents(own.redis) == before
                break
    assert refused, "the memory did not become full"
    for event_id in (1, held, line):
        before = await contents(own.redis)
        with pytest.raises(InventoryUnavailable):
            await own.office.book(event_id, "one more")
        assert await contents(own.redis) == before
    checks, limit = PasswordChecks(own.batchers, RateLimit(9, 1)), RateLimit(9, 1)
    assert await own.office.take_address_token("10.0.0.1", limit) == 0, "nobody can log in to cancel"
    assert await checks.begin("ann@example.com", "10.0.0.1") == (0, True)
    await checks.end("ann@example.com", "10.0.0.1", drew=True, was_right=True)
    assert await own.office.events_to_expire(0, "sweeper", 500, 10) == []
    assert (await own.office.cancel(1, "early-0", key=IdempotencyKey("cancel", "request"))).status is Status.CANCELLED
    assert (await own.office.cancel(held, "early-0")).status is Status.CANCELLED
    assert (await own.office.cancel(line, "early-0")).status is Status.CANCELLED
    assert (await own.office.cancel(line, "early-5")).status is Status.LEFT
    assert (await own.office.confirm(held, "early-1")).status is Status.CONFIRMED
    promoted = await own.office.get_booking(line, "early-1")
    assert promoted.booking is not None
    assert promoted.booking.status == "confirmed"
    for event_id in (1, held, line):
        event = await own.office.get_event(event_id)
        assert event is not None
        assert event.rules.capacity == event.available + event.tickets_held + event.tickets_sold
        entries = [entry for entry in await own.entries(event_id) if entry.startswith(f"{event_id} ")]
        assert event.seq == len(entries), "a change without its entry, or an entry without its change"


async def test_no_caller_hangs_while_the_server_is_stopped_and_work_resumes_after(
    own: Stock, server: ValkeyServer
) -> None:
    await own.sale(capacity=1_000)
    server.process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            asked = [asyncio.create_task(own.office.book(1, f"buyer-{number}")) for number in range(300)]
            while not all(task.done() for task in asked):
                late = asyncio.create_task(own.office.get_event(1))
                await asyncio.wait([late])
                assert isinstance(late.exception(), InventoryUnavailable)
        unknown = [task for task in asked if isinstance(task.exception(), OutcomeUnknown)]
        unsent = [task for task in asked if isinstance(task.exception(), InventoryUnavailable)]
        assert len(unknown) + len(unsent) == 300
        assert unsent, "commands after the first call were sent"
    finally:
        server.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(InventoryUnavailable, OutcomeUnknown):
                event = await own.office.get_event(1)
                break
    assert event is not None
    users = [entry.split(" ")[-1] for entry in (await own.entries())[1:]]
    assert len(users) == len(set(users)) == event.tickets_sold
    assert set(users) <= {f"buyer-{number}" for number, task in enumerate(asked) if task in unknown}


async def test_a_missing_server_is_unavailable_and_is_used_again_when_it_returns(clean_valkey: str) -> None:
    async with open_stock("unix:///nowhere/at-all.sock", behind=clean_valkey) as stock:
        with pytest.raises(InventoryUnavailable):
            await stock.office.book(1, "ann")
    async with lossy_proxy(clean_valkey) as proxy, open_stock(proxy.address, behind=clean_valkey) as stock:
        await stock.sale()
        address = proxy.address
        await proxy.stop()
        for _ in range(2):
            with pytest.raises((InventoryUnavailable, OutcomeUnknown)):
                await stock.office.book(1, "ann")
        await proxy.start(int(address.rpartition(":")[2]))
        assert (await stock.office.book(1, "bob")).status is Status.BOOKED


async def test_nothing_is_sold_from_an_emptied_server(stock: Stock) -> None:
    await stock.sale()
    await stock.office.book(1, "ann")
    await stock.redis.flushall()
    calls = (
        stock.office.book(1, "bob"), stock.office.cancel(1, "ann"), stock.office.confirm(1, "ann"),
        stock.office.get_event(1), stock.office.get_booking(1, "ann"),
        stock.sale(1), stock.office.change(1, {"capacity": 5}),
    )  # fmt: skip
    for each in calls:
        with pytest.raises(ShardFenced):
            await each
    assert await stock.redis.dbsize() == 0
    assert [lag.whole for lag in await stock.office.lags()] == [False] * SHARDS


async def test_a_shard_with_another_epoch_is_fenced_off_and_others_still_sell(stock: Stock) -> None:
    await stock.sale(1)
    await stock.sale(2)
    await stock.redis.set(keys.epoch(1), "another")
    with pytest.raises(ShardFenced):
        await stock.office.book(1, "ann")
    assert (await stock.office.book(2, "ann")).status is Status.BOOKED
    assert [lag.whole for lag in await stock.office.lags()] == [True, False]


async def test_an_interrupted_exchange_leaves_no_reply_for_the_next_one(stock: Stock, clean_valkey: str) -> None:
    await stock.sale(1)
    await stock.sale(2)
    connection = ScriptConnection(clean_valkey, [load("book"), load("get_event")])
    try:
        await exchanged(connection, call("get_event", 1))
        await stock.redis.execute_command("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
        theirs = call("book", 1, "ann", 1, 0, "")
        interrupted = asyncio.create_task(exchanged(connection, theirs))

        async def is_waiting() -> bool:
            return int((await stock.redis.info("clients"))["blocked_clients"]) > 0

        await eventually_async(is_waiting, "the call waits on the server")
        await connection.close()
        assert await interrupted
        await stock.redis.execute_command("CLIENT", "UNPAUSE")
        assert isinstance(theirs.answer, OutcomeUnknown)
        mine = call("book", 2, "bob", 4, 0, "")
        assert await exchanged(connection, mine) is False
        assert isinstance(mine.answer, list)
        assert b" 4 " in bytes(mine.answer[0][2])[:7]
    finally:
        await connection.close()


async def test_a_connection_with_an_unexpected_reply_is_closed(remote: Stock) -> None:
    await remote.sale()
    remote.connection.data_received(b":1\r\n")
    assert (await remote.office.book(1, "ann")).status is Status.BOOKED
    remote.connection.data_received(b"not the protocol at all\r\n")
    assert (await remote.office.book(1, "bob")).status is Status.BOOKED


async def test_a_connection_that_is_lost_while_its_server_is_verified_is_sent_nothing(
    stock: Stock, clean_valkey: str
) -> None:
    await stock.sale()

    async def verify(execute: Execute, _: Acknowledged) -> dict[Argument, str]:
        (number,) = await execute([("CLIENT", "ID")])
        await stock.redis.client_kill_filter(_id=number)
        with contextlib.suppress(RedisError, OSError):
            while True:
                await execute([("PING",)])
        return {}

    connection = ScriptConnection(clean_valkey, [load("book")], verify)
    unsent = call("book", 1, "ann", 1, 0, "")
    try:
        assert await exchanged(connection, unsent) is True
    finally:
        await connection.close()
    assert str(unsent.answer) == "Redis cannot be reached (ConnectionError)"
    assert (await stock.office.get_booking(1, "ann")).status is Status.BOOKING_NOT_FOUND


async def test_a_call_that_cannot_be_encoded_does_not_affect_its_neighbours(stock: Stock, clean_valkey: str) -> None:
    await stock.sale()
    connection = ScriptConnection(clean_valkey, [load("book")])
    odd, even = call("book", 1, "half a pair: \ud800", 1, 0, ""), call("book", 1, "ann", 1, 0, "")
    try:
        assert await exchanged(connection, odd, even) is False
    finally:
        await connection.close()
    assert isinstance(odd.answer, InventoryUnavailable)
    assert isinstance(even.answer, list)
    assert even.answer[0][0] == Status.BOOKED


async def test_no_call_fails_if_the_server_closed_an_idle_connection(own: Stock) -> None:
    await own.sale()
    await own.redis.client_kill_filter(_type="normal", skipme=True)

    async def is_alone() -> bool:
        return len(await own.redis.client_list()) == 1

    await eventually_async(is_alone, "the server has closed the connection")
    assert (await own.office.book(1, "ann")).status is Status.BOOKED
