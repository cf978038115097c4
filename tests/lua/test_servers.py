"""The scripts give the same answers on every supported server: Valkey, Redis 7.0 or newer, and fakeredis."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from redis import Redis

from booking.domain.details import DETAILS, Details, Visibility, details_from_text
from booking.domain.outcomes import Status
from booking.inventory import keys
from booking.inventory.scripts import load
from tests.fixtures.valkey import running_valkey

EPOCH = "epoch"


def system_redis() -> Path | None:
    """The machine's own redis-server, if it is new enough."""
    program = shutil.which("redis-server")
    if program is None:
        return None
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"v=(\d+)\.", said)
    return Path(program) if version and int(version[1]) >= 7 else None


@pytest.fixture(params=["fakeredis", "valkey", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "fakeredis":
        with fakeredis.FakeRedis(version=(7, 0)) as client:
            yield client
        return
    program = system_redis() if request.param == "redis" else None
    if request.param == "redis" and program is None:
        pytest.skip("there is no redis-server of 7.0 or newer on the PATH")
    with running_valkey(program=program) as running, Redis.from_url(running.address, protocol=2) as client:
        yield client


class ScriptCaller:
    """Calls the scripts as the batcher does. Each method is one call."""

    def __init__(self, client: Any) -> None:
        self.client = client
        client.set(keys.epoch(1), EPOCH)

    def run(self, verb: str, *arguments: object) -> list[list[Any]]:
        script = load(verb)
        places = keys.event_keys(1, 2)[: len(script.header.keys)]
        rows: list[Any] = self.client.eval(script.source.decode(), len(places), *places, EPOCH, 1, *arguments)
        return [row for row in rows if isinstance(row, list)]  # the id of the newest entry follows them

    def create(self, capacity: int, hold_ms: int = 0, waitlist_limit: object = "") -> list[Any]:
        return self.run("create", "Opening night", capacity, 4, hold_ms, waitlist_limit, "", "", "boss")[0]

    def book(self, *buyers: tuple[str, int]) -> list[tuple[int, int, str]]:
        items = [part for user, quantity in buyers for part in (user, quantity, 0, "")]
        return [(row[0], row[1], row[2].decode()[:3]) for row in self.run("book", 0, 0, 1_000, "", *items)]

    def cancel(self, *users: str) -> list[int]:
        items = [part for user in users for part in (user, "", "", "", 0, "")]
        return [row[0] for row in self.run("cancel", 0, 0, "", *items)]

    def confirm(self, *users: str) -> list[int]:
        items = [part for user in users for part in (user, "", 0, 0, "")]
        return [row[0] for row in self.run("confirm", 0, 0, "", *items)]

    def counters(self) -> tuple[int, ...]:
        """Available, held and sold tickets, bookings, holds, waiting users, and seq."""
        row = self.run("get_event")[0]
        return tuple(row[9:16])

    def booking_changes(self) -> list[tuple[str, str]]:
        """Kind and user of each booking change in the stream."""
        entries = [fields[b"c"].decode().split(" ") for _, fields in self.client.xrange(keys.changes(1))]
        return [(words[2], words[-1]) for words in entries[1:]]


def test_tickets_are_sold_cancelled_and_given_to_the_waiting_list(server: Any) -> None:
    scripts = ScriptCaller(server)
    assert scripts.create(3)[0] == Status.CREATED
    assert scripts.create(3) == [Status.EVENT_EXISTS]
    assert scripts.book(("ann", 2), ("bob", 2), ("cid", 1), ("ann", 1), ("dan", 5)) == [
        (Status.BOOKED, 0, "c 2"),
        (Status.JOINED, 1, "w 2"),
        (Status.JOINED, 2, "w 1"),
        (Status.ALREADY_BOOKED, 0, "c 2"),
        (Status.QUANTITY_OVER_LIMIT, 0, ""),
    ]
    assert scripts.counters() == (1, 0, 2, 1, 0, 2, 4)
    assert scripts.cancel("ann", "nobody") == [Status.CANCELLED, Status.BOOKING_NOT_FOUND]
    assert scripts.counters() == (0, 0, 3, 2, 0, 0, 7)
    assert sorted(server.hkeys(keys.event_keys(1, 2)[1])) == [b"bob", b"cid"]
    assert scripts.book(("eve", 1), ("eve", 1)) == [
        (Status.JOINED, 1, "w 1"),
        (Status.ALREADY_WAITING, 1, "w 1"),
    ]
    assert scripts.cancel("eve") == [Status.LEFT]
    assert scripts.booking_changes() == [
        ("booked", "ann"), ("joined", "bob"), ("joined", "cid"), ("cancelled", "ann"),
        ("promoted", "bob"), ("promoted", "cid"), ("joined", "eve"), ("left", "eve"),
    ]  # fmt: skip


def test_holds_are_confirmed_or_expire(server: Any) -> None:
    scripts = ScriptCaller(server)
    scripts.create(2, hold_ms=60_000)
    assert [row[0] for row in scripts.book(("ann", 1), ("bob", 1), ("cid", 1))] == [
        Status.HELD, Status.HELD, Status.JOINED,
    ]  # fmt: skip
    assert scripts.confirm("ann", "cid", "nobody") == [
        Status.CONFIRMED, Status.STILL_WAITING, Status.BOOKING_NOT_FOUND,
    ]  # fmt: skip
    bob_ends = server.zscore(keys.event_keys(1, 2)[3], "bob")
    record = server.hget(keys.event_keys(1, 2)[1], "bob")
    server.zadd(keys.event_keys(1, 2)[3], {"bob": 1})  # as if the hold had ended
    server.hset(keys.event_keys(1, 2)[1], "bob", record.replace(str(int(bob_ends)).encode(), b"1"))
    assert scripts.counters() == (0, 1, 1, 1, 1, 0, 7)
    assert scripts.confirm("bob") == [Status.HOLD_EXPIRED]
    assert scripts.booking_changes()[-3:] == [("confirmed", "ann"), ("expired", "bob"), ("promoted", "cid")]


def test_a_waiting_list_has_a_limit_that_may_be_0(server: Any) -> None:
    scripts = ScriptCaller(server)
    scripts.create(1, waitlist_limit=3)
    assert [row[0] for row in scripts.book(("ann", 1), ("bob", 1), ("cid", 1), ("dan", 1), ("eve", 1))] == [
        Status.BOOKED, Status.JOINED, Status.JOINED, Status.JOINED, Status.WAITLIST_FULL,
    ]  # fmt: skip
    assert scripts.run("change", "", "", "waitlist_limit", 0)[0][0] == Status.CHANGED
    assert [row[0] for row in scripts.book(("eve", 1), ("bob", 1))] == [Status.SOLD_OUT, Status.ALREADY_WAITING]


def test_a_shard_with_another_epoch_is_fenced_off(server: Any) -> None:
    scripts = ScriptCaller(server)
    scripts.create(1)
    server.set(keys.epoch(1), "another")
    with pytest.raises(Exception, match="FENCED"):
        scripts.book(("ann", 1))


def test_details_are_told_changed_one_by_one_and_cleared(server: Any) -> None:
    caller = ScriptCaller(server)
    items = ("venue", '"Hall \\"3\\", left"', "starts_at_ms", "-62135596800000", "offer_seconds", "90")
    caller.run("create", "Opening night", 1, 4, 0, "", "", "", "boss", *items)
    event = keys.event(1, 2)
    assert (
        server.hget(event, "details")
        == b'{\n"venue":"Hall \\"3\\", left",\n"starts_at_ms":-62135596800000,\n"offer_seconds":90\n}'
    )
    assert server.hmget(event, "archived", "offer_ms", "payment_ms") == [b"0", b"90000", b""]
    caller.run("change", "", "", "visibility", '"archived"', "description", '"One.\\nTwo,"', "offer_seconds", "")
    assert details_from_text(server.hget(event, "details")) == Details(
        "One.\nTwo,", 'Hall "3", left', -62_135_596_800_000, visibility=Visibility.ARCHIVED
    )
    assert server.hmget(event, "archived", "offer_ms", "payment_ms") == [b"1", b"", b""]
    caller.run("change", "", "", *(part for name in DETAILS for part in (name, "")))
    assert server.hmget(event, "details", "archived") == [b"{}", b"0"]
    told = [fields.get(b"d") for _, fields in server.xrange(keys.changes(1))]
    assert told[0] is not None
    assert [details_from_text(text or b"").venue for text in told] == ['Hall "3", left', 'Hall "3", left', None]
