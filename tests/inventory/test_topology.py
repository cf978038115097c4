"""The map of the shards: what the URL names, and what clusters and Sentinels say."""

import signal

import pytest

from booking.inventory import keys
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.topology import Topology, open_topology
from tests.fixtures.cluster import Cluster, free_ports, running_cluster, running_sentinels
from tests.fixtures.waiting import eventually_async

SHARDS = 8


async def opened(url: str) -> Topology:
    topology = open_topology(url, SHARDS)
    await topology.refresh()
    return topology


@pytest.mark.parametrize("url", ["redis://db:6380/2?client_name=x", "rediss://u:p@db", "unix:///run/redis.sock?db=1"])
async def test_one_server_has_every_shard_at_its_own_url(url: str) -> None:
    topology = await opened(url)
    assert topology.form == "server"
    assert topology.addresses() == [url]
    assert topology.shards_at(url) == list(range(SHARDS))
    assert topology.locate_key(b"any key") == url


@pytest.mark.parametrize(
    "url",
    [
        "http://db",
        "redis+other://db",
        "unix+cluster:///run/redis.sock",
        "redis+cluster://",
        "redis+cluster://a,,b",
        "redis+cluster://a:port",
        "redis+cluster://a:99999",
        "redis+cluster://a/1",
        "redis+cluster://a?no_such_option=1",
        "redis+sentinel://a,b",
        "redis+sentinel://a/name/one",
        "redis+sentinel://a/name/0/1",
        "redis://db?no_such_option=1",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"the URL|a cluster has") as refusal:
        open_topology(url.replace("://", "://user:s3cret@"), SHARDS)
    assert "s3cret" not in str(refusal.value)


async def test_a_clusters_shards_are_where_its_slots_are(clean_cluster: Cluster) -> None:
    topology = await opened(clean_cluster.url)
    try:
        assert sorted(topology.addresses()) == sorted(node.address for node in clean_cluster.nodes)
        for shard in range(SHARDS):
            node = clean_cluster.node_at(topology.locate(shard))
            assert shard in topology.shards_at(node.address)
            assert node.run("EXISTS", keys.epoch(shard)) == 0  # any other node would say MOVED
    finally:
        await topology.close()


async def test_user_password_and_options_are_kept_for_the_servers_that_are_found(clean_cluster: Cluster) -> None:
    for node in clean_cluster.nodes:
        node.run("ACL", "SETUSER", "seller", "on", ">s3cret", "~*", "+@all")
    seeds = clean_cluster.url.removeprefix("redis+cluster://")
    topology = await opened(f"redis+cluster://seller:s3cret@{seeds}?client_name=sale")
    try:
        expected = {f"redis://seller:s3cret@{node.location}?client_name=sale" for node in clean_cluster.nodes}
        assert set(topology.addresses()) == expected
    finally:
        await topology.close()
        for node in clean_cluster.nodes:
            node.run("ACL", "DELUSER", "seller")


async def test_one_seed_that_answers_is_enough(clean_cluster: Cluster) -> None:
    (unused,) = free_ports(1)
    topology = await opened(f"redis+cluster://127.0.0.1:{unused},{clean_cluster.nodes[2].location}")
    try:
        assert len(topology.addresses()) == 3
    finally:
        await topology.close()


@pytest.mark.parametrize("form", ["redis+cluster://127.0.0.1:{}", "redis+sentinel://127.0.0.1:{}/tickets"])
async def test_without_any_answer_no_shard_is_known(form: str) -> None:
    topology = open_topology(form.format(*free_ports(1)), SHARDS)
    try:
        with pytest.raises(InventoryUnavailable):
            await topology.refresh()
        with pytest.raises(InventoryUnavailable):
            topology.locate(0)
        assert topology.addresses() == []
    finally:
        await topology.close()


async def test_moved_changes_the_map_before_anything_is_asked(clean_cluster: Cluster) -> None:
    topology = await opened(clean_cluster.url)
    changes = list[str]()
    topology.on_change(lambda: changes.append(topology.locate(3)))
    try:
        there = next(one for one in topology.addresses() if one != topology.locate(3))
        slot = clean_cluster.nodes[0].run("CLUSTER", "KEYSLOT", keys.epoch(3))
        topology.moved(f"MOVED {slot} {there.removeprefix('redis://')}")
        assert topology.locate(3) == changes[0] == there
        await eventually_async(lambda: topology.locate(3) != there, "the cluster is asked, and says otherwise")
    finally:
        await topology.close()


async def test_a_cluster_follows_the_promotion_of_a_replica() -> None:
    with running_cluster(primaries=3, replicas=1) as cluster:
        topology = await opened(cluster.url)
        try:
            before = topology.locate(0)
            lost = set(topology.shards_at(before))
            cluster.node_at(before).send(signal.SIGKILL)
            topology.distrust(before)
            await eventually_async(lambda: topology.locate(0) != before, "the promotion is seen")
            assert set(topology.shards_at(topology.locate(0))) == lost
        finally:
            await topology.close()


async def test_the_primary_is_the_one_that_most_sentinels_name() -> None:
    with running_sentinels() as watched:
        topology = await opened(watched.url)
        try:
            before = topology.locate(0)
            assert before == watched.nodes[0].address
            assert topology.addresses() == [before]
            watched.sentinels[0].send(signal.SIGSTOP)  # it still names the first primary when it goes on
            watched.nodes[0].send(signal.SIGKILL)
            await eventually_async(lambda: topology.locate(0) != before, "the promotion is seen")
            watched.sentinels[0].send(signal.SIGCONT)
            await topology.refresh()
            assert topology.locate(0) in {node.address for node in watched.nodes[1:]}
        finally:
            await topology.close()
