"""`scripts/overload` in small, and proof that it sees what it is there to see."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.benchmark.flood import BOUNDS_MS, Flood, Plan, offer, quantile_ms, together
from scripts.benchmark.overload import Memory, Outcome

EMPTY = [0] * (len(BOUNDS_MS) + 1)


def counts(*latencies_ms: float) -> list[int]:
    counted = list(EMPTY)
    for latency in latencies_ms:
        counted[next(place for place, bound in enumerate(BOUNDS_MS) if bound >= latency)] += 1
    return counted


def outcome(flood: Flood, memory: Memory | None = None) -> Outcome:
    flat = Memory({"server": 100.0}, {"server": 110.0}, {"server": 105.0})
    return Outcome(1_000, 60, 2_000, flood, flat if memory is None else memory)


GOOD = Flood(
    1_000, 5, 0, {"201": 60, "409": 40, "503": 890, "429": 10}, 0, counts(*[90] * 100), counts(*[80] * 100), EMPTY
)


def test_a_quantile_is_the_bound_below_which_so_many_lie() -> None:
    assert 90 <= quantile_ms(counts(*[10] * 50, *[90] * 50), 0.99) <= 90 * 1.04
    assert 10 <= quantile_ms(counts(*[10] * 50, *[90] * 50), 0.5) <= 10 * 1.04
    assert quantile_ms(EMPTY, 0.99) == 0


def test_several_processes_are_summed() -> None:
    both = together([GOOD, GOOD])
    assert (both.offered, both.accepted, both.turned_away, both.not_offered) == (2_000, 200, 1_800, 10)
    assert sum(both.from_sent) == 200


@pytest.mark.parametrize(
    ("flood", "memory", "said"),
    [
        (GOOD, None, None),
        (replace(GOOD, from_sent=counts(*[80] * 97, *[400] * 3)), None, "p99"),
        (replace(GOOD, statuses={"201": 100, "500": 1}), None, "500"),
        (replace(GOOD, unasked=3), None, "without Retry-After 3"),
        (replace(GOOD, unanswered=2), None, "no answer 2"),
        (replace(GOOD, statuses={"503": 100}), None, "nothing was accepted"),
        (GOOD, Memory({"server": 100.0}, {"server": 121.0}, {"server": 90.0}), "memory: 1.21 times"),
    ],
)
def test_each_mark_that_is_missed_is_said(flood: Flood, memory: Memory | None, said: str | None) -> None:
    misses = outcome(flood, memory).misses
    assert (misses == []) if said is None else any(said in miss for miss in misses), misses


async def test_a_crowd_goes_on_whatever_it_is_answered_and_counts_it(tmp_path: Path) -> None:
    answers = iter([b"201 Created\r\n", b"503 No\r\nretry-after: 2\r\n", b"429 No\r\n", b"", b"500 No\r\n"] * 1_000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(2)
                if not (answer := next(answers)):
                    break
                writer.write(b"HTTP/1.1 " + answer + b"content-length: 2\r\n\r\n")
                await asyncio.sleep(0.001)
                writer.write(b"ok")
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    tokens = tmp_path / "tokens"
    tokens.write_text("a b c")
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        plan = Plan(f"http://127.0.0.1:{port}/book", "{}", str(tokens), 200, 1, 20, seed=3)
        flood = await asyncio.to_thread(offer, [plan], os.sched_getaffinity(0))
    assert flood.offered > 100
    assert sum(flood.statuses.values()) + flood.unanswered == flood.offered
    assert set(flood.statuses) == {"201", "503", "429", "500"}
    assert flood.unasked == flood.statuses["429"]
    assert flood.anything_else == {"500": flood.statuses["500"]}
    assert sum(flood.from_sent) == flood.statuses["201"] + flood.statuses["500"]
