"""First answers, given again byte for byte after a worker, Redis or all of it was killed, and by whichever worker."""

import json
import time

import httpx
from redis import Redis

from booking.inventory import keys
from tests.contract.api import Api, open_api
from tests.contract.client import Answer, Caller, replayed
from tests.fixtures.service import RunningService
from tests.fixtures.waiting import eventually

from .behind import PATIENCE_SECONDS, redis_of, settings_of

DAY_MS = 86_400_000
CONNECTIONS = 8
"""Enough that each of two workers gets some: the kernel deals them out."""


def ask(api: Api, caller: Caller, verb: str, event_id: int, key: str) -> Answer:
    """One call on a connection of its own."""
    body = json.dumps({"event_id": event_id}).encode()
    head = f"POST /{verb} HTTP/1.1\nAuthorization: {caller.authorization}\nIdempotency-Key: {key}"
    return api.line.send(f"{head}\nContent-Length: {len(body)}", body)


def first_answers(api: Api, event_id: int) -> dict[tuple[str, str], Answer]:
    """The first answer under a key of each kind, by user and verb; each booking has changed since."""
    buyer, waiting, refused = (api.user(name) for name in ("buyer", "waiting", "refused"))
    answers = {
        ("buyer", "book"): ask(api, buyer, "book", event_id, "b"),
        ("waiting", "book"): ask(api, waiting, "book", event_id, "b"),
        ("refused", "book"): ask(api, refused, "book", event_id, "b"),
        ("waiting", "confirm"): ask(api, waiting, "confirm", event_id, "c"),
        ("buyer", "confirm"): ask(api, buyer, "confirm", event_id, "c"),
        ("buyer", "cancel"): ask(api, buyer, "cancel", event_id, "x"),
    }
    assert [answer.status for answer in answers.values()] == [201, 202, 409, 409, 200, 200]
    return answers


def check_replays(service: RunningService, event_id: int, firsts: dict[tuple[str, str], Answer]) -> None:
    """Every first answer again, from every worker, and nothing changed by that."""
    with open_api(service) as api:
        before = api.look(event_id)
        for (user, verb), first in firsts.items():
            for _ in range(CONNECTIONS):
                assert replayed(ask(api, api.user(user), verb, event_id, verb[0] if verb != "cancel" else "x"), first)
        assert api.look(event_id) == before


def is_ready(service: RunningService) -> bool:
    """Whether every worker says so; each connection may be taken by either."""
    try:
        return all(
            httpx.get(f"{service.base_url}/readyz", timeout=5, trust_env=False).status_code == 200
            for _ in range(2 * CONNECTIONS)
        )
    except httpx.TransportError:
        return False


def kill(service: RunningService, part: str) -> None:
    """Kills a part with SIGKILL, and returns once another has taken its place."""
    killed = service.kill(part)
    eventually(lambda: service.parts().get(part, killed) != killed, f"{part} comes back")
    eventually(lambda: is_ready(service), f"the service is ready without the {part} that was killed")


def test_a_replay_is_the_same_after_later_changes_from_every_worker_and_after_every_part_was_killed(
    two_workers: RunningService,
) -> None:
    with open_api(two_workers) as api:
        event_id = api.event(hold_seconds=3_600, waitlist_limit=1)
        firsts = first_answers(api, event_id)
        promoted = api.user("waiting").booking(event_id)
        assert promoted.data["status"] == "held", "the booking is another than the one that was answered"
    check_replays(two_workers, event_id, firsts)
    for part in ("worker-1", "worker-2", "redis", "persister"):
        kill(two_workers, part)
        check_replays(two_workers, event_id, firsts)


def kept_for_ms(redis: Redis, kept: str) -> int:
    lasts = redis.pttl(kept)
    assert isinstance(lasts, int)
    return lasts


def test_the_day_of_a_key_goes_on_while_redis_is_killed_and_comes_back(two_workers: RunningService) -> None:
    with open_api(two_workers) as api:
        event_id = api.event(available_tickets=2)
        buyer = api.user()
        before = time.time_ns() // 1_000_000
        assert ask(api, buyer, "book", event_id, "b").status == 201
        assert api.user().book(event_id).status == 201
    kept = keys.replay(event_id, settings_of(two_workers.data_dir).shards, buyer.id, "b")
    kill(two_workers, "redis")
    with redis_of(two_workers.data_dir) as redis:
        assert list(redis.scan_iter(f"*:{event_id}:replay:*")) == [kept.encode()], "none is kept without a key"
        passed_ms = time.time_ns() // 1_000_000 - before
        assert DAY_MS - passed_ms - PATIENCE_SECONDS * 1_000 < kept_for_ms(redis, kept) <= DAY_MS
        redis.pexpire(kept, 60_000)
    kill(two_workers, "redis")
    with redis_of(two_workers.data_dir) as redis:
        assert kept_for_ms(redis, kept) <= 60_000
