"""Which Redis servers may be used, by what the server reports."""

from contextlib import closing
from dataclasses import replace

import pytest
from redis import Redis

from booking.domain.diagnosis import Finding, Verdict
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.inspection import Kind, Server, inspect
from booking.inventory.server_checks import check_server, check_version, start_checks
from tests.fixtures.valkey import running_valkey

GOOD = Server(
    kind="Redis",
    version="8.2.2",
    clustered=False,
    role="master",
    primary=None,
    refused=(),
    replicas=0,
    append_only=True,
    synced="always",
    policy="noeviction",
    memory_bytes=1_000_000,
    memory_bytes_max=0,
    clients=3,
    clients_max=10_000,
    clock_skew_seconds=0.0,
)


@pytest.mark.parametrize(
    ("kind", "version", "verdict"),
    [
        ("Redis", "6.2.20", "fault"),
        ("Redis", "7.0.15", "warning"),
        ("Redis", "7.2.10", "warning"),
        ("Redis", "7.2.11", "ok"),
        ("Redis", "7.4.5", "warning"),
        ("Redis", "7.4.6", "ok"),
        ("Redis", "8.0.3", "warning"),
        ("Redis", "8.0.4", "ok"),
        ("Redis", "8.2.1", "warning"),
        ("Redis", "8.2.2", "ok"),
        ("Redis", "8.4.0-rc1", "ok"),
        ("Valkey", "7.2.10", "warning"),
        ("Valkey", "7.2.11", "ok"),
        ("Valkey", "8.0.5", "warning"),
        ("Valkey", "8.0.6", "ok"),
        ("Valkey", "8.1.3", "warning"),
        ("Valkey", "8.1.4", "ok"),
        ("Valkey", "9.1.2", "ok"),
        ("Redis", "", "fault"),
    ],
)
def test_a_vulnerable_release_causes_a_warning_and_one_too_old_is_refused(
    kind: Kind, version: str, verdict: str
) -> None:
    found = check_version(kind, version)
    assert found.verdict == verdict
    assert ("8.0.4" in found.advice or "8.0.6" in found.advice) == (verdict == "warning")


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-ttl", "volatile-lfu"])
def test_a_redis_that_evicts_keys_is_refused_at_the_start(policy: str) -> None:
    assert {one.verdict for one in start_checks(GOOD)} == {Verdict.OK}
    eviction = start_checks(replace(GOOD, policy=policy))[1]
    assert (eviction.verdict, policy in eviction.found) == (Verdict.FAULT, True)
    assert "noeviction" in eviction.advice


@pytest.mark.parametrize(
    ("changes", "name", "verdict"),
    [
        ({"append_only": False}, "Redis persistence", "warning"),
        ({"synced": "everysec"}, "Redis persistence", "warning"),
        ({"synced": None}, "Redis persistence", "ok"),
        ({"refused": ("hset",)}, "Redis rights", "fault"),
        ({"memory_bytes_max": 1_100_000}, "Redis memory", "warning"),
        ({"memory_bytes_max": 4_000_000}, "Redis memory", "ok"),
        ({"clients": 9_000}, "Redis clients", "warning"),
        ({"clients_max": None}, "Redis clients", "ok"),
    ],
)
def test_each_problem_is_reported_with_advice(changes: dict[str, object], name: str, verdict: str) -> None:
    assert {one.verdict for one in check_server(GOOD)} == {Verdict.OK}
    found: dict[str, Finding] = {one.name: one for one in check_server(replace(GOOD, **changes))}  # type: ignore[arg-type]  # each value has its own type
    assert found.pop(name).verdict == verdict
    assert {one.verdict for one in found.values()} == {Verdict.OK}


async def test_a_server_reports_every_checked_value() -> None:
    with running_valkey("--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory", "50mb") as server:
        facts = await inspect(server.address)
    assert (facts.kind, facts.role, facts.clustered, facts.replicas) == ("Valkey", "master", False, 0)
    assert (facts.append_only, facts.synced, facts.policy) == (True, "everysec", "noeviction")
    assert facts.memory_bytes_max == 50 * 1024 * 1024
    assert 0 < facts.memory_bytes < facts.memory_bytes_max
    assert facts.clients_max
    assert abs(facts.clock_skew_seconds) < 5
    assert [one.verdict for one in start_checks(facts)][:2] == [Verdict.OK, Verdict.OK]


async def test_a_server_that_hides_its_settings_is_still_inspected() -> None:
    with running_valkey("--rename-command", "CONFIG", "") as server:
        facts = await inspect(server.address)
    assert (facts.synced, facts.policy) == (None, "noeviction")


async def test_the_reason_why_a_server_is_unreachable_has_no_password() -> None:
    with running_valkey() as server:
        with closing(Redis.from_url(server.address)) as redis:
            redis.config_set("requirepass", "hush")
        for address in (server.address, f"{server.address}?password=wrong-hush"):
            with pytest.raises(InventoryUnavailable) as refused:
                await inspect(address)
            assert "hush" not in str(refused.value)
            assert "password" in str(refused.value)
    with pytest.raises(InventoryUnavailable, match="cannot be reached"):
        await inspect("redis://:hush@127.0.0.1:1")
