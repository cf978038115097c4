"""First answers are replayed byte for byte by every worker, also after a worker, Redis or the persister was killed."""

import json
import time

import httpx
from redis import Redis

from booking.inventory import keys
from tests.contract.api import Api, open_api
from tests.contract.client import Answer, Caller, replayed
from tests.fixtures.service import RunningService
from tests.fixtures.waiting import PATIENCE_SECONDS, eventually

from .behind import redis_of, settings_of

DAY_MS = 86_400_000
CONNECTIONS = 8
"""Enough that each of two workers gets some, since the kernel distributes them."""


def ask(api: Api, caller: Caller, verb: str, event_id: int, key: str) -> Answer:
    """Makes one call on a connection of its own."""
    body = json.dumps({"event_id": event_id}).encode()
    head = f"POST /{verb} HTTP/1.1\nAuthorization: {caller.authorization}\nIdempotency-Key: {key}"
    return api.raw_connection.send(f"{head}\nContent-Length: {len(body)}", body)


def first_answers(api: Api, event_id: int) -> dict[tuple[str, str], Answer]:
    """The first answers of each kind under a key, by user and command. Each booking has changed since."""
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
    """Checks that every worker replays every first answer, and that this changes nothing."""
    with open_api(service) as api:
        before = api.look(event_id)
        for (user, verb), first in firsts.items():
            for _ in range(CONNECTIONS):
                assert replayed(ask(api, api.user(user), verb, event_id, verb[0] if verb != "cancel" else "x"), first)
        assert api.look(event_id) == before


def is_ready(service: RunningService) -> bool:
    """Whether every worker is ready. Any worker may accept a connection, so it tries several."""
    try:
        return all(
            httpx.get(f"{service.base_url}/readyz", timeout=5, trust_env=False).status_code == 200
            for _ in range(2 * CONNECTIONS)
        )
    except httpx.TransportError:
        return False


def kill(service: RunningService, part: str) -> None:
    """Kills a child process with SIGKILL, and waits until it is replaced."""
    killed = service.kill(part)
    eventually(lambda: service.parts().get(part, killed) != killed, f"{part} comes back")
    eventually(lambda: is_ready(service), f"the service is ready without the {part} that was killed")


def test_every_worker_replays_the_same_answer_even_after_changes_and_kills(
    two_workers: RunningService,
) -> None:
    with open_api(two_workers) as api:
        event_id = api.event(hold_seconds=3_600, waitlist_limit=1)
        firsts = first_answers(api, event_id)
        promoted = api.user("waiting").booking(event_id)
        assert promoted.data["status"] == "held", "the booking has not changed since the first answer"
    check_replays(two_workers, event_id, firsts)
    for part in ("worker-1", "worker-2", "redis", "persister"):
        kill(two_workers, part)
        check_replays(two_workers, event_id, firsts)


def kept_for_ms(redis: Redis, kept: str) -> int:
    lasts = redis.pttl(kept)
    assert isinstance(lasts, int)
    return lasts


def test_an_idempotency_keys_lifetime_survives_a_restart_of_redis(two_workers: RunningService) -> None:
    with open_api(two_workers) as api:
        event_id = api.event(available_tickets=2)
        buyer = api.user()
        before = time.time_ns() // 1_000_000
        assert ask(api, buyer, "book", event_id, "b").status == 201
        assert api.user().book(event_id).status == 201
    kept = keys.answers(event_id, settings_of(two_workers.data_dir).shards, buyer.id)
    kill(two_workers, "redis")
    with redis_of(two_workers.data_dir) as redis:
        assert list(redis.scan_iter(f"*:{event_id}:answers:*")) == [kept.encode()], "not exactly one answer is kept"
        passed_ms = time.time_ns() // 1_000_000 - before
        assert DAY_MS - passed_ms - PATIENCE_SECONDS * 1_000 < kept_for_ms(redis, kept) <= DAY_MS
        redis.pexpire(kept, 60_000)
    kill(two_workers, "redis")
    with redis_of(two_workers.data_dir) as redis:
        assert kept_for_ms(redis, kept) <= 60_000
