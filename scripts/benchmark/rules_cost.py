"""What the rules of a sale cost: `book` as it is against the same script without them, on one server and in turn.

    scripts/bench-rules

The bare one has no expiry, holds, window, pause, limits or idempotency keys. Prints the server's own time a booking.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from statistics import median

from redis import Redis

from booking.inventory import keys
from booking.inventory.records import stored_epoch
from booking.inventory.scripts import load
from scripts.benchmark.contenders import embedded_redis

ROUNDS = 60
CALLS = 20
BATCH = 31
"""Bookings in a call: what 64 connections make of one worker."""

EVENT, SHARDS, EPOCH = 1, 8, "epoch"
UNLIMITED = 10**9

CUTS = (
    ("  prune()\n  expire_first()\n", ""),
    ("is_behind and not make_room(i, user, quantity)", "false"),
    ("  if sale.paused == 1 then return SALE_PAUSED end\n", ""),
    ("  if sale.opens_at and now < sale.opens_at then return SALE_NOT_OPEN, sale.opens_at, now_text end\n", ""),
    ("  if sale.closes_at and now >= sale.closes_at then return SALE_CLOSED end\n", ""),
    ("  local most = math.min(sale.max_per_user, sale.capacity)\n", ""),
    ("  if not (quantity >= 1 and quantity <= most and quantity % 1 == 0) then return QUANTITY_OVER_LIMIT end\n", ""),
    ("  if sale.waitlist_limit == 0 then return SOLD_OUT end\n", ""),
    ("  if not has_place(quantity) then return WAITLIST_FULL end\n", ""),
    ("  local earlier = replay ~= '0' and earlier_answer(replay, request)\n  if earlier then return earlier end\n", ""),
    ("  if replay ~= '0' then\n", "  if false then\n"),
    ("  if sale.hold_ms > 0 then\n    booking.status", "  if false then\n    booking.status"),
)


def bare(source: str) -> str:
    """`book` without its rules. Raises ValueError when the script has moved on from what is cut here."""
    for piece, instead in CUTS:
        if piece not in source:
            raise ValueError(f"book no longer holds {piece.strip()!r}; mend CUTS")
        source = source.replace(piece, instead)
    return source


def calls(buyers: Iterator[int]) -> list[object]:
    """The arguments of one call."""
    items = [part for buyer in (next(buyers) for _ in range(BATCH)) for part in (str(buyer), 1, 0, "")]
    return [*keys.event_keys(EVENT, SHARDS), EPOCH, EVENT, 100_000, 20, UNLIMITED, *items]


def main() -> None:
    """Measures and prints."""
    whole = load("book").source.decode()
    buyers = count()
    took: dict[str, list[float]] = {"whole": [], "bare": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded_redis(Path(folder) / "data") as (settings, _),
        closing(Redis.from_url(settings.redis_address)) as redis,
    ):
        redis.set(keys.epoch(keys.shard_of(EVENT, SHARDS)), stored_epoch(EPOCH))
        create = load("create")
        event_keys = keys.event_keys(EVENT, SHARDS)[: len(create.header.keys)]
        rules = ("a night", 10_000_000, 1, 0, "", "", "")
        redis.eval(create.source.decode(), len(event_keys), *event_keys, EPOCH, EVENT, *rules)
        shas = {"whole": redis.script_load(whole), "bare": redis.script_load(bare(whole))}
        for _ in range(ROUNDS):
            for name, sha in shas.items():
                redis.config_resetstat()
                for _ in range(CALLS):
                    redis.evalsha(sha, len(keys.event_keys(EVENT, SHARDS)), *calls(buyers))  # type: ignore[arg-type]  # any
                stat = redis.info("commandstats")["cmdstat_evalsha"]
                took[name].append(stat["usec_per_call"] / BATCH)
    for name, times in took.items():
        print(f"{name}: {median(times):.2f} µs a booking (median of {ROUNDS} rounds), {min(times):.2f} at the least")


if __name__ == "__main__":
    main()
