"""The rate bucket of password checks of one account."""

import asyncio

from booking.inventory import keys
from booking.inventory.box_office import RateLimit
from booking.inventory.password_checks import KNOWN_SECONDS, PasswordChecks
from tests.fixtures.stock import Stock

SLOW = RateLimit(burst=3, per_second=0.01)
ANN, HERE, THERE = "ann@example.com", "192.0.2.1", "192.0.2.2"


async def test_only_failed_checks_use_an_accounts_bucket(stock: Stock) -> None:
    checks = PasswordChecks(stock.batchers, SLOW)
    for _ in range(20):
        assert await checks.begin(ANN, HERE) == (0, True)
        await checks.end(ANN, HERE, drew=True, was_right=False)
    assert await stock.redis.exists(keys.account_rate(ANN)) == 0, "a returned token left a key"
    assert [(await checks.begin(ANN, HERE))[1] for _ in range(3)] == [True] * 3
    wait_ms, drew = await checks.begin(ANN, THERE)
    assert 90_000 < wait_ms <= 100_000
    assert not drew
    assert await checks.begin("bob@example.com", HERE) == (0, True)


async def test_concurrent_checks_pass_up_to_the_size_of_the_bucket(stock: Stock) -> None:
    checks = PasswordChecks(stock.batchers, SLOW)
    answers = await asyncio.gather(*(checks.begin(ANN, f"192.0.2.{number}") for number in range(40)))
    assert sum(wait_ms == 0 for wait_ms, _ in answers) == 3


async def test_an_address_that_has_logged_in_is_never_refused_and_others_are(stock: Stock) -> None:
    checks = PasswordChecks(stock.batchers, SLOW)
    assert await checks.begin(ANN, HERE) == (0, True)
    await checks.end(ANN, HERE, drew=True, was_right=True)
    for _ in range(3):
        await checks.begin(ANN, THERE)
    assert [await checks.begin(ANN, HERE) for _ in range(5)] == [(0, False)] * 5
    assert (await checks.begin(ANN, THERE))[0] > 0
    left = await stock.redis.ttl(keys.known_address(ANN, HERE))
    assert KNOWN_SECONDS - 60 < left <= KNOWN_SECONDS
    assert (await checks.begin(ANN, "elsewhere"))[0] > 0


async def test_redis_stores_no_email_in_plain_text(stock: Stock) -> None:
    checks = PasswordChecks(stock.batchers, SLOW)
    await checks.begin(ANN, HERE)
    await checks.end(ANN, HERE, drew=False, was_right=True)
    names = b" ".join(await stock.redis.keys("booking:rate:*"))
    assert names.count(b"booking:rate:") == 2
    assert b"ann" not in names
