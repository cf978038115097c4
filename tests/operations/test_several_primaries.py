"""Doctor, audit and restore in front of a cluster or Sentinels: what a primary has lost, and one that is away."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from booking.domain.diagnosis import Finding, Verdict
from booking.domain.lags import Lag
from booking.inventory import keys
from booking.inventory.inspection import shard_lags
from booking.operations.audit.command import UNREADABLE, audit, read
from booking.operations.doctor.command import examine
from booking.operations.restore.command import DONE, restore
from booking.persister.bootstrap import positions_of
from tests.fixtures.cluster import Cluster, Node, running_sentinels
from tests.fixtures.several_primaries import EVENTS, SHARDS, Sale, open_sale
from tests.fixtures.waiting import eventually, eventually_async


@pytest.fixture
async def sale(clean_cluster: Cluster, tmp_path: Path) -> AsyncIterator[Sale]:
    async with open_sale(clean_cluster.url, tmp_path) as opened:
        yield opened


@contextmanager
def stopped(node: Node, cluster: Cluster) -> Iterator[None]:
    """The node does not answer inside."""
    node.send(signal.SIGSTOP)
    try:
        yield
    finally:
        node.send(signal.SIGCONT)
        eventually(cluster.is_whole, "the cluster is whole again")


async def persist(sale: Sale, user: str) -> None:
    async with sale.persister():
        await sale.book(user)
        await eventually_async(lambda: sale.persisted(user), f"SQL has {user}'s bookings")


def faults(findings: list[Finding]) -> list[str]:
    return [f"{one.name}: {one.found}; {one.advice}" for one in findings if one.verdict is Verdict.FAULT]


async def test_an_emptied_primary_is_restored_while_the_other_shards_stay_as_they_are(
    sale: Sale, clean_cluster: Cluster
) -> None:
    await persist(sale, "ann")
    address = sale.topology.addresses()[1]
    emptied = sale.topology.shards_at(address)
    before = positions_of(await sale.ledger.shards())
    clean_cluster.node_at(address).run("FLUSHALL")
    lags = await shard_lags(sale.topology, before)
    whole = [shard for shard, lag in lags.items() if isinstance(lag, Lag) and lag.whole]
    assert sorted({*range(SHARDS)} - {*whole}) == emptied
    found = faults(await examine(sale.settings, {}, None))
    assert [one for one in found if f"Redis lacks changes that SQL has of {', '.join(map(str, emptied))}:" in one]
    assert await asyncio.to_thread(restore, sale.settings, [], yes=True, force=False) == DONE
    after = positions_of(await sale.ledger.shards())
    assert sorted(shard for shard in range(SHARDS) if after[shard][0] != before[shard][0]) == emptied
    assert await sale.differences() == {}
    await persist(sale, "bob")
    assert await sale.differences() == {}


async def test_restore_goes_by_what_it_reaches_and_says_which_shards_it_does_not(
    sale: Sale, clean_cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    await persist(sale, "ann")
    first, second, _ = sale.topology.addresses()
    clean_cluster.node_at(first).run("FLUSHALL")
    before = positions_of(await sale.ledger.shards())
    with stopped(clean_cluster.node_at(second), clean_cluster):
        assert await asyncio.to_thread(restore, sale.settings, [], yes=True, force=False) == UNREADABLE
    text = capsys.readouterr().err
    assert (
        f"cannot be restored now: the shards {', '.join(map(str, sale.topology.shards_at(second)))}: Redis at" in text
    )
    after = positions_of(await sale.ledger.shards())
    assert [shard for shard in range(SHARDS) if after[shard] != before[shard]] == sale.topology.shards_at(first)
    assert await sale.differences() == {}


async def test_an_audit_compares_the_other_shards_while_a_primary_is_away(
    sale: Sale, clean_cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    await persist(sale, "ann")
    address = sale.topology.addresses()[0]
    its_own = [one for one in EVENTS if keys.shard_of(one, SHARDS) in sale.topology.shards_at(address)]
    with stopped(clean_cluster.node_at(address), clean_cluster):
        audits = await read(sale.settings, [], Console(stderr=True))
        assert await asyncio.to_thread(audit, sale.settings, [], as_json=True) == UNREADABLE
    assert [one.event_id for one in audits if one.unread] == its_own
    assert [one.event_id for one in audits if one.ok] == [one for one in EVENTS if one not in its_own]
    told = json.loads(capsys.readouterr().out)
    assert [one["event_id"] for one in told if not one["ok"]] == its_own


async def test_the_doctor_says_which_shards_live_where_and_names_the_node_that_is_away(
    sale: Sale, clean_cluster: Cluster
) -> None:
    findings = await examine(sale.settings, {}, None)
    assert faults(findings) == []
    (placement,) = [one.found for one in findings if one.name == "Redis shards"]
    assert placement.startswith("a cluster; ")
    for address in sale.topology.addresses():
        location = clean_cluster.node_at(address).location
        assert f"{location} has {', '.join(map(str, sale.topology.shards_at(address)))}" in placement
        assert [one for one in findings if one.name == "Redis memory" and location in one.found]
    address = sale.topology.addresses()[2]
    node, shards = clean_cluster.node_at(address), ", ".join(map(str, sale.topology.shards_at(address)))
    with stopped(node, clean_cluster):
        redis, compared, *_ = faults(await examine(sale.settings, {}, None))
    assert redis.startswith(f"Redis: {node.location}: Redis cannot be reached (TimeoutError): the shards {shards} sell")
    assert compared.startswith(f"shards: not compared: the shards {shards}: Redis at {node.location} cannot be reached")


async def test_the_doctor_names_the_primary_that_sentinels_watch(tmp_path: Path) -> None:
    with running_sentinels() as watched:
        async with open_sale(watched.url, tmp_path) as sale:
            findings = await examine(sale.settings, {}, None)
            assert faults(findings) == []
            (placement,) = [one.found for one in findings if one.name == "Redis shards"]
            assert placement == f"all at {watched.primary().location}, the primary that the Sentinels name"
