"""Runs each command on very large events and prints its longest call: `python -m tests.model.large`.

The times are from the server's SLOWLOG. They depend on the machine, so the tests count the work of a call instead.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from booking.domain.model import Rules
from booking.domain.outcomes import IdempotencyKey, Outcome
from booking.inventory import keys
from booking.inventory.scripts import all_scripts
from booking.inventory.streams import ChangeStreams
from tests.fixtures.stock import EPOCHS, SHARDS, Stock, open_stock
from tests.fixtures.valkey import running_valkey

CALL_MS_MAX = 50.0
"""How long one call may block Redis for other callers, in milliseconds."""

EVENT = 1
GROUP = 100
HOLD_SECONDS = 3_600
AT_ONCE = 2_000
"""Commands sent at the same time while a case is prepared. The batcher puts up to 256 into one call."""

MASS_AT_ONCE = 5_000
"""Users of each kind that one call writes for the event of all verbs."""

Case = Callable[[Stock, int], Awaitable[Any]]


async def book_many(stock: Stock, name: str, size: int, quantity: int = 1) -> list[Outcome]:
    """Books for `size` users."""
    outcomes: list[Outcome] = []
    for start in range(0, size, AT_ONCE):
        users = (f"{name}-{number}" for number in range(start, min(size, start + AT_ONCE)))
        outcomes += await asyncio.gather(*(stock.office.book(EVENT, user, quantity) for user in users))
    return outcomes


async def create(stock: Stock, capacity: int, hold_seconds: int = 0) -> None:
    """Creates the event."""
    await stock.office.create(EVENT, Rules("Night", capacity, GROUP, hold_seconds=hold_seconds))


async def end_holds(stock: Stock) -> None:
    """Moves the end of every hold to the year 1970."""
    _, bookings, _, holds, due, *_ = keys.event_keys(EVENT, SHARDS)
    records = await stock.redis.hgetall(bookings)
    held = {user: text.rpartition(b" ")[0] + b" 1" for user, text in records.items() if not text.endswith(b" 0")}
    users = list(held)
    for start in range(0, len(users), AT_ONCE):
        some = users[start : start + AT_ONCE]
        await stock.redis.hset(bookings, mapping={user: held[user] for user in some})
        await stock.redis.zadd(holds, dict.fromkeys(some, 1))
    await stock.redis.zadd(due, {str(EVENT): 1})


async def groups_cancel(stock: Stock, size: int) -> None:
    """256 groups of 100 tickets cancel at once while single users wait."""
    await create(stock, 256 * GROUP)
    await book_many(stock, "group", 256, GROUP)
    await book_many(stock, "single", size)
    await start_log(stock)
    await asyncio.gather(*(stock.office.cancel(EVENT, f"group-{number}") for number in range(256)))


async def capacity_falls(stock: Stock, size: int, waiting: int) -> None:
    """Reduces the capacity from 2 to 1 while each waiting user wants `waiting` tickets."""
    await create(stock, 2)
    await book_many(stock, "owner", 1)
    await book_many(stock, "one", 1, 2)
    await book_many(stock, "waiting", size, waiting)
    await start_log(stock)
    await stock.office.change(EVENT, {"capacity": 1})


async def all_become_impossible(stock: Stock, size: int) -> None:
    """A smaller capacity makes every entry of the waiting list impossible."""
    await capacity_falls(stock, size, 2)


async def none_become_impossible(stock: Stock, size: int) -> None:
    """A smaller capacity makes one entry impossible, and all others have to be checked."""
    await capacity_falls(stock, size, 1)


async def capacity_grows(stock: Stock, size: int) -> None:
    """The capacity grows by half of the waiting users."""
    await create(stock, 1)
    await book_many(stock, "waiting", size)
    await start_log(stock)
    await stock.office.change(EVENT, {"capacity": size // 2})


async def expired_holds(stock: Stock, size: int, *, quantity: int = 1) -> None:
    """Every ticket is on an expired hold, and as many users wait for one."""
    await create(stock, size, HOLD_SECONDS)
    await book_many(stock, "holder", size // quantity, quantity)
    await book_many(stock, "waiting", size)
    await end_holds(stock)
    await start_log(stock)


async def expired_holds_are_read(stock: Stock, size: int) -> None:
    """The event is read."""
    await expired_holds(stock, size // 2)
    await stock.office.get_event(EVENT)


async def expired_holds_and_buyers(stock: Stock, size: int) -> None:
    """256 buyers each book a hundred tickets."""
    await expired_holds(stock, size // 2)
    await book_many(stock, "buyer", 256, GROUP)


async def expired_groups_and_their_owners(stock: Stock, size: int) -> None:
    """The 256 users whose holds of a hundred tickets ended last try to confirm."""
    await expired_holds(stock, size // 2, quantity=GROUP)
    last = size // 2 // GROUP
    await asyncio.gather(*(stock.office.confirm(EVENT, f"holder-{last - number}") for number in range(1, 257)))


async def expired_holds_and_a_change(stock: Stock, size: int) -> None:
    """The capacity grows."""
    await expired_holds(stock, size // 2)
    await stock.office.change(EVENT, {"capacity": size})


async def stream_is_trimmed(stock: Stock, size: int) -> None:
    """The persister trims a stream that grew while the persister was stopped."""
    await create(stock, 1)
    await book_many(stock, "waiting", size)
    await start_log(stock)
    await stream_of(stock, lambda streams, position: streams.trim({EVENT % SHARDS: position}))


async def every_verb(stock: Stock, size: int) -> None:
    """Every script on one event with `size` bookings, as many waiting, expired holds, and answers under keys.

    256 commands of each kind come at once: of users with a booking, a place, an expired hold or nothing, with a new key
    or one of 64 used ones.
    """
    await write_event(stock, size)
    await start_log(stock)
    office, used = stock.office, [f"{number:0200}" for number in range(KEYS_OF_A_CALLER)]

    def key(number: int) -> IdempotencyKey:
        return IdempotencyKey(used[number % len(used)] if number % 2 else f"new-{number}", "again")

    def user(number: int) -> str:
        kinds = ("booked", "waiting", "dead", "nobody")
        return f"{kinds[number % len(kinds)]}-{(number * 7919) % size}"

    for round_number in range(ROUNDS):
        numbers = range(256 * round_number, 256 * (round_number + 1))
        await asyncio.gather(*(office.book(EVENT, user(n), 1 + n % GROUP, key(n)) for n in numbers))
        await asyncio.gather(*(office.confirm(EVENT, user(n), key(n)) for n in numbers))
        await asyncio.gather(*(office.cancel(EVENT, user(n), key=key(n)) for n in numbers))
        await asyncio.gather(*(office.cancel(EVENT, f"keyed-{n % CALLERS}", key=key(n)) for n in numbers))
        await asyncio.gather(*(office.get_booking(EVENT, user(n)) for n in numbers))
        await asyncio.gather(*(office.take_token(EVENT, user(n)) for n in numbers))
        await office.events_to_expire(EVENT % SHARDS, "sweeper", 500, 200)
        await office.get_event(EVENT)
        await office.lags()
    for change in ({"capacity": 3 * size}, {"paused": 1}, {"max_per_user": 1}, {"name": "Later"}):
        await office.change(EVENT, change)
    await office.create(EVENT + SHARDS, Rules("Another", size, GROUP))
    await office.next_event_id()
    await stream_of(stock, lambda streams, position: streams.verify_or_fence({EVENT % SHARDS: position}))
    await stream_of(stock, lambda streams, position: streams.read({EVENT % SHARDS: position}, 4_000))
    await stream_of(stock, lambda streams, position: streams.trim({EVENT % SHARDS: position}))


KEYS_OF_A_CALLER = 64
CALLERS = 256
"""Users with as many answers as a user may have whose calls come in one batch."""

ROUNDS = 4


FILL = """
local first, last, size, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
for n = first, last do
  redis.call('HSET', KEYS[1], 'booked-' .. n, '1 c 1 ' .. n + 2 .. ' 1000 s 0',
    'waiting-' .. n, '1 w 1 ' .. size + n + 2 .. ' 1000 s 0',
    'dead-' .. n, '1 h 1 ' .. 2 * size + n + 2 .. ' 1000 s ' .. n + 1)
  redis.call('ZADD', KEYS[2], size + n + 2, 'waiting-' .. n)
  redis.call('ZADD', KEYS[3], n + 1, 'dead-' .. n)
  local answer = string.format('\\n%s\\nfirst\\n21\\n0\\n\\ncancel keyed-%d', now, math.floor(n / 64))
  redis.call('RPUSH', KEYS[4] .. math.floor(n / 64), string.rep('0', 198) .. string.format('%02d', n % 64) .. answer)
end
"""
"""Writes bookings, waiting entries, expired holds, and 64 answers for each of as many users as there have to be."""


async def write_event(stock: Stock, size: int) -> None:
    """Writes an event's keys directly: a million bookings by the scripts would take minutes."""
    await stock.office.create(EVENT, Rules("Night", 2 * size, GROUP, hold_seconds=HOLD_SECONDS))
    event, bookings, waiting, holds, due, *_ = keys.event_keys(EVENT, SHARDS)
    names = bookings, waiting, holds, keys.answers(EVENT, SHARDS, "keyed-")
    now_ms = time.time_ns() // 1_000_000
    for start in range(0, size, MASS_AT_ONCE):
        last = min(size, start + MASS_AT_ONCE) - 1
        await stock.redis.eval(FILL, len(names), *names, start, last, size, now_ms)
    counters = {
        "available": 0, "held": size, "holding": size, "sold": size, "bookings": size, "backlog": size,
        "seq": 3 * size + 1,
    }  # fmt: skip
    await stock.redis.hset(event, mapping=counters)
    await stock.redis.zadd(due, {str(EVENT): 1})


async def stream_of(stock: Stock, use: Callable[[ChangeStreams, tuple[str, str]], Awaitable[object]]) -> None:
    """Uses the event's stream as the persister does, from its last entry."""
    ((last, _),) = await stock.redis.xrevrange(keys.changes(EVENT % SHARDS), count=1)
    address = stock.redis.connection_pool.connection_kwargs
    streams = ChangeStreams(
        f"unix://{address['path']}" if "path" in address else f"redis://127.0.0.1:{address['port']}"
    )
    try:
        await use(streams, (EPOCHS[EVENT % SHARDS], last.decode()))
    finally:
        await streams.close()


CASES: Sequence[Case] = (
    every_verb,
    groups_cancel,
    all_become_impossible,
    none_become_impossible,
    capacity_grows,
    expired_holds_are_read,
    expired_holds_and_buyers,
    expired_groups_and_their_owners,
    expired_holds_and_a_change,
    stream_is_trimmed,
)


async def start_log(stock: Stock) -> None:
    """Starts the measurement."""
    # Valkey logs the commands within a script, too. Below a millisecond they would push the scripts out of the log.
    await stock.redis.config_set("slowlog-log-slower-than", 1_000)
    await stock.redis.config_set("slowlog-max-len", 100_000)
    await stock.redis.slowlog_reset()
    began_at.append(await processor_ms(stock))


began_at: list[float] = []
"""The server's processor time at the start of the measurement, in milliseconds."""


async def processor_ms(stock: Stock) -> float:
    """Processor time of the server's main thread. Compared with the calls' times, it shows how busy the machine is."""
    cpu = await stock.redis.info("cpu")
    return 1_000 * float(cpu["used_cpu_user_main_thread"] + cpu["used_cpu_sys_main_thread"])


async def script_times(stock: Stock) -> list[tuple[float, str]]:
    """The milliseconds of each script call of a millisecond or more since `start_log`, and the script's name."""
    names = {script.sha: script.name for script in all_scripts()}
    return [
        (entry["duration"] / 1000, names.get(entry["command"].split(b" ")[1], "a script of the persister"))
        for entry in await stock.redis.slowlog_get(100_000)
        if entry["command"][:4] == b"EVAL"
    ]


async def measure(size: int, only: str) -> bool:
    """Prints a line for each case. Returns whether every call was short enough."""
    short = True
    for case in CASES:
        if only not in case.__name__:
            continue
        with running_valkey() as server:
            async with open_stock(server.address, queue_limit=100_000) as stock:
                began = time.monotonic()
                began_at.clear()
                await case(stock, size)
                times = sorted(await script_times(stock))
                worked = await processor_ms(stock) - began_at.pop()
        (longest, script), middle = times[-1], times[len(times) // 2][0]
        short, whole = short and longest <= CALL_MS_MAX, sum(time_ms for time_ms, _ in times)
        print(
            f"{case.__name__:30} {len(times):5} calls, longest {longest:6.1f} ms ({script}), median {middle:6.1f} ms, "
            f"all {whole:8.1f} ms, of the processor {worked:8.1f} ms  ({time.monotonic() - began:.0f} s)",
            flush=True,
        )
    return short


def main() -> int:
    """Returns 1 if a call took longer than CALL_MS_MAX."""
    parser = argparse.ArgumentParser(prog="python -m tests.model.large", description=__doc__)
    parser.add_argument("--size", type=int, default=200_000, help="bookings, people who wait, expired holds (200,000)")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    asked = parser.parse_args()
    return 0 if asyncio.run(measure(asked.size, asked.only)) else 1


if __name__ == "__main__":
    sys.exit(main())
