"""The faults of several servers of Redis: a cluster, or a primary that Sentinels watch. See `faults.py`."""

import asyncio
import random
import signal
import time
from typing import Any

from booking.inventory import keys
from tests.chaos.deployment import SHARDS, Deployment
from tests.chaos.faults import ANYWHERE, named
from tests.fixtures.cluster import Cluster, Node, Watched

STOPPED_SECONDS = (0.3, 5.0)
"""How long a primary is stopped: sometimes too short for a failover, sometimes well beyond it."""

KEY_SECONDS = 0.02
"""Between two moves of a few keys, so that buyers meet a slot that is half moved."""


async def kill_primary(deployment: Deployment[Any], chance: random.Random) -> None:
    """A primary is killed. Its replica is promoted, and the killed one comes back empty, as a replica."""
    primary = await _kill_primary(deployment, chance)
    primary.start()
    await deployment.until(deployment.redis.is_replicated, "the killed primary is back as a replica")


async def kill_ahead(deployment: Deployment[Any], chance: random.Random) -> None:
    """A primary is killed whose replicas have not followed it for a while. One of them is promoted all the same."""
    primary = await _a_primary(deployment, chance)
    replicas = await asyncio.to_thread(deployment.redis.replicas_of, primary)
    for replica in replicas:
        replica.send(signal.SIGSTOP)
    await asyncio.to_thread(
        primary.run, "CLIENT", "KILL", "TYPE", "replica"
    )  # else they find all of it in their sockets
    await asyncio.sleep(0.5 + chance.random())
    await asyncio.to_thread(primary.send, signal.SIGKILL)
    deployment.count_kill("primary")
    for replica in replicas:
        replica.send(signal.SIGCONT)
    await _replaced(deployment, replicas)
    primary.start()
    await deployment.until(deployment.redis.is_replicated, "the killed primary is back as a replica")


async def stop_primary(deployment: Deployment[Any], chance: random.Random) -> None:
    """A primary is stopped with SIGSTOP. When it goes on, it is still the primary, or does not know that it was."""
    primary = await _a_primary(deployment, chance)
    primary.send(signal.SIGSTOP)
    await asyncio.sleep(chance.uniform(*STOPPED_SECONDS))
    primary.send(signal.SIGCONT)


async def kill_replica(deployment: Deployment[Any], chance: random.Random) -> None:
    """A replica is killed, and is started again while its primary sells."""
    primary = await _a_primary(deployment, chance)
    replica = chance.choice(await asyncio.to_thread(deployment.redis.replicas_of, primary))
    await asyncio.to_thread(replica.send, signal.SIGKILL)
    deployment.count_kill("replica")
    await asyncio.sleep(2 * chance.random())
    replica.start()


async def planned_failover(deployment: Deployment[Any], chance: random.Random) -> None:
    """A replica takes over from its primary, which goes on (CLUSTER FAILOVER, SENTINEL FAILOVER)."""
    primary = await _a_primary(deployment, chance)
    await asyncio.sleep(chance.random())
    await asyncio.to_thread(deployment.redis.fail_over, primary)
    await deployment.until(deployment.redis.is_replicated, "the primary that gave way is a replica")


async def move_slots(deployment: Deployment[Cluster], chance: random.Random) -> None:
    """The slots of a primary's shards move to another one and back, each in one step (CLUSTER MIGRATESLOTS)."""
    cluster = deployment.redis
    source, target = chance.sample(await asyncio.to_thread(cluster.primaries), 2)
    slots = await asyncio.to_thread(_slots_of_shards, cluster, source)
    for one, other in ((source, target), (target, source)):
        await asyncio.to_thread(cluster.move_slots, one, other, slots)
        await asyncio.sleep(chance.random())


async def move_keys(deployment: Deployment[Cluster], chance: random.Random) -> None:
    """A shard's slot moves to another primary and back in the older way, a few keys at a time (SETSLOT, MIGRATE)."""
    cluster = deployment.redis
    source, target = chance.sample(await asyncio.to_thread(cluster.primaries), 2)
    slot = chance.choice(await asyncio.to_thread(_slots_of_shards, cluster, source))
    for one, other in ((source, target), (target, source)):
        await asyncio.to_thread(cluster.move_keys, one, other, slot, KEY_SECONDS)
        await asyncio.sleep(chance.random())


async def join_node(deployment: Deployment[Cluster], chance: random.Random) -> None:
    """Another primary joins with a replica, takes a third of all slots, gives them back, and leaves."""
    await asyncio.to_thread(_visit, deployment.redis, chance.random())


async def kill_sentinel(deployment: Deployment[Watched], chance: random.Random) -> None:
    """A Sentinel is killed, then the primary: the other Sentinels agree on a replica. Then both come back."""
    sentinel = chance.choice(deployment.redis.sentinels)
    await asyncio.to_thread(sentinel.send, signal.SIGKILL)
    deployment.count_kill("sentinel")
    primary = await _kill_primary(deployment, chance)
    sentinel.start()
    primary.start()
    await deployment.until(deployment.redis.is_replicated, "the killed primary is back as a replica")


async def _kill_primary(deployment: Deployment[Any], chance: random.Random) -> Node:
    """Returns once it is replaced: an empty one that is started again before would be followed by its replicas."""
    primary = await _a_primary(deployment, chance)
    replicas = await asyncio.to_thread(deployment.redis.replicas_of, primary)
    await asyncio.sleep(chance.random())
    await asyncio.to_thread(primary.send, signal.SIGKILL)
    deployment.count_kill("primary")
    await _replaced(deployment, replicas)
    return primary


async def _replaced(deployment: Deployment[Any], replicas: list[Node]) -> None:
    """Waits until one of them is promoted, the others follow it, and no Sentinel leads to the killed primary."""
    await deployment.until(
        lambda: deployment.redis.is_led_by_one_of(replicas), "a replica of the killed primary is promoted"
    )


async def _a_primary(deployment: Deployment[Any], chance: random.Random) -> Node:
    """A primary by chance, whose shards the fault concerns."""
    primary: Node = chance.choice(await asyncio.to_thread(deployment.redis.primaries))
    deployment.broken_shards = {*deployment.topology.shards_at(primary.address)}
    return primary


def _visit(cluster: Cluster, seconds: float) -> None:
    """A new primary has a third of all slots for some seconds."""
    with cluster.joined(replicas=1) as new:
        thirds = [(one, slots[: len(slots) // 3]) for one in cluster.primaries() if (slots := cluster.slots_of(one))]
        for one, slots in thirds:
            cluster.move_slots(one, new, slots)
        time.sleep(seconds)
        for one, slots in thirds:
            cluster.move_slots(new, one, slots)


def _slots_of_shards(cluster: Cluster, node: Node) -> list[int]:
    """The slots of the shards that a primary has."""
    slots = {int(node.run("CLUSTER", "KEYSLOT", keys.epoch(shard))) for shard in range(SHARDS)}
    return sorted(slots & {*cluster.slots_of(node)})


SENTINEL = ANYWHERE | named(kill_primary, kill_ahead, stop_primary, kill_replica, planned_failover, kill_sentinel)
"""Faults of two nodes on a primary that Sentinels watch."""

CLUSTER = ANYWHERE | named(
    kill_primary, kill_ahead, stop_primary, kill_replica, planned_failover, move_slots, move_keys, join_node
)
"""Faults of two nodes on a cluster."""
