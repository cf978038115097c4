"""Two nodes sell on a cluster of three primaries and three replicas, and on a primary that Sentinels watch."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from booking.cli.main import main
from tests.fixtures.cluster import Cluster, running_cluster, running_sentinels
from tests.fixtures.forks import ForkedProgram
from tests.fixtures.service import RunningService, running_service
from tests.fixtures.waiting import eventually

EVENTS = 2
SALE = (
    "--tickets",
    "60",
    "--buyers",
    "240",
    "--quantity-max",
    "2",
    "--rate",
    "40",
    "--idempotent",
    "--database-seconds",
    "30",
)


@contextmanager
def two_nodes(redis_url: str, database_url: str, folder: Path, **settings: str) -> Iterator[list[RunningService]]:
    """Two nodes of one service."""
    environment = {
        "BOOKING_REDIS_URL": redis_url,
        "BOOKING_DATABASE_URL": database_url,
        "BOOKING_RATE_LIMIT": "off",
        "BOOKING_WORKERS": "1",
        **settings,
    }
    with ExitStack() as stack:
        yield [
            stack.enter_context(running_service(folder / name, {**environment, "BOOKING_NODE": name}))
            for name in ("one", "two")
        ]


def start(node: RunningService, output: Path, *arguments: str) -> ForkedProgram:
    """Starts a command of the service against a node."""
    environment = {**os.environ, **node.environment} | {
        "BOOKING_JWT_SECRET": node.secret,
        "BOOKING_DATA_DIR": str(node.data_dir),
    }
    return ForkedProgram(main, arguments, environment, output=output)


def on_sale(node: RunningService) -> int:
    """How many events have sold something. A load test's are not in the list for anyone."""
    administrator = {"Authorization": f"Bearer {node.token('boss', 'admin')}"}
    events = httpx.get(f"{node.url}/events?mine=true", headers=administrator).json()["data"]
    return sum(event["bookings_count"] > 0 for event in events)


def is_ready(node: RunningService) -> bool:
    """Whether all shards are sold."""
    return httpx.get(f"{node.url}/readyz").status_code == 200


def sell(nodes: list[RunningService], folder: Path, meanwhile: Callable[[], None]) -> None:
    """Plays sales on all nodes at once. Each verdict has to be clean, and the audit of all events, too."""
    told = [folder / f"sale-{number}" for number in range(EVENTS)]
    sales = [
        start(nodes[number % 2], told[number], "loadtest", "--url", nodes[number % 2].url, *SALE)
        for number in range(EVENTS)
    ]
    try:
        eventually(lambda: on_sale(nodes[0]) == EVENTS, "the sales have begun", seconds=60)
        meanwhile()
        for sale, said in zip(sales, told, strict=True):
            assert sale.wait(150) == 0, said.read_text()
    finally:
        for sale in sales:
            sale.kill()
    eventually(lambda: all(map(is_ready, nodes)), "the nodes are ready", seconds=30)
    said = folder / "audit"
    assert start(nodes[0], said, "audit").wait(60) == 0, said.read_text()


def fail_over(cluster: Cluster) -> None:
    """Kills a primary, and starts it again once its replica is the primary: it is the replica then."""
    dead, (replica,) = cluster.nodes[0], cluster.replicas_of(cluster.nodes[0])
    dead.send(signal.SIGKILL)
    eventually(lambda: replica.tells("replication", "role:master"), "the replica is promoted", seconds=30)
    dead.start()


@pytest.mark.timeout(300)
def test_a_primary_that_dies_costs_no_booking_of_two_nodes_on_a_cluster(postgres_url: str, tmp_path: Path) -> None:
    with (
        running_cluster(3, 1) as cluster,
        two_nodes(cluster.url, postgres_url, tmp_path, BOOKING_ACK="replica", BOOKING_ACK_REPLICAS="1") as nodes,
    ):
        sell(nodes, tmp_path, lambda: fail_over(cluster))


@pytest.mark.timeout(300)
def test_two_nodes_follow_the_sentinels_to_the_promoted_replica(postgres_url: str, tmp_path: Path) -> None:
    with (
        running_sentinels() as watched,
        two_nodes(watched.url, postgres_url, tmp_path, BOOKING_ACK="replica", BOOKING_ACK_REPLICAS="1") as nodes,
    ):
        sell(nodes, tmp_path, lambda: watched.primary().send(signal.SIGKILL))
