"""The window and holds depend only on Redis's own clock, which the scripts read, and not on a web node's clock."""

import re
import time

import pytest

from booking.domain.model import Rules
from booking.domain.outcomes import Status
from booking.inventory import keys
from booking.inventory.scripts import all_scripts
from tests.fixtures.stock import Stock
from tests.model.settable_clock import CLOCK_KEY

from .settable_office import NOON_MS, office_with_clock

TEN_YEARS_SECONDS = 315_360_000


def test_no_script_takes_the_time_as_an_argument() -> None:
    for script in all_scripts():
        named = {*script.header.arguments, *script.header.items}
        assert named.isdisjoint({"now", "now_ms", "time", "clock", "at"}), script.header
        assert not re.search(r"os\.(time|clock|date)", script.source.decode())


async def test_a_web_node_with_a_wrong_clock_uses_redis_time(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    now_ms = time.time_ns() // 1_000_000
    minute = 60_000
    await stock.sale(1, opens_at_ms=now_ms - minute, closes_at_ms=now_ms + minute, hold_seconds=60)
    await stock.sale(3, opens_at_ms=now_ms + minute)
    for wrong in (TEN_YEARS_SECONDS, -TEN_YEARS_SECONDS):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: now_ms / 1000 + wrong)
        monkeypatch.setattr(time, "time_ns", lambda wrong=wrong: now_ms * 1_000_000 + wrong * 10**9)
        held = await stock.office.book(1, f"user {wrong}")
        assert held.status is Status.HELD
        assert held.booking is not None
        assert held.booking.expires_at_ms is not None
        assert abs(held.booking.expires_at_ms - now_ms - minute) < 30_000
        assert (await stock.office.book(3, f"user {wrong}")).status is Status.SALE_NOT_OPEN


async def test_the_window_opens_and_closes_to_the_millisecond_of_rediss_clock(clean_valkey: str) -> None:
    async with office_with_clock(clean_valkey) as (office, redis):
        found_at = []
        await redis.set(CLOCK_KEY, (NOON_MS - 10) * 1000)
        await office.create(1, Rules("One second", 10, opens_at_ms=NOON_MS, closes_at_ms=NOON_MS + 1_000))
        for after_ms in (-1, 0, 999, 1_000):
            await redis.set(CLOCK_KEY, (NOON_MS + after_ms) * 1000)
            found_at.append((await office.book(1, f"user {after_ms}")).status)
        assert found_at == [Status.SALE_NOT_OPEN, Status.BOOKED, Status.BOOKED, Status.SALE_CLOSED]


async def test_a_hold_is_valid_until_the_last_millisecond_before_its_end(clean_valkey: str) -> None:
    async with office_with_clock(clean_valkey) as (office, redis):
        await redis.set(CLOCK_KEY, NOON_MS * 1000)
        await office.create(1, Rules("Held", 10, hold_seconds=2))
        for user in ("ann", "bob"):
            assert (await office.book(1, user)).status is Status.HELD
        await redis.set(CLOCK_KEY, (NOON_MS + 1_999) * 1000)
        assert (await office.confirm(1, "ann")).status is Status.CONFIRMED
        await redis.set(CLOCK_KEY, (NOON_MS + 2_000) * 1000)
        assert (await office.confirm(1, "bob")).status is Status.HOLD_EXPIRED
        event = await office.get_event(1)
        assert event is not None
        assert (event.tickets_sold, event.tickets_held, event.available) == (1, 0, 9)
        assert await redis.exists(keys.due(1)) == 0
