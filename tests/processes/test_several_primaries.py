"""`booking serve` on a cluster: what it says at the start, and what it tells of a primary that is away."""

import json
import signal
from pathlib import Path
from typing import Any

import httpx

from booking.inventory import keys
from tests.fixtures.cluster import Cluster
from tests.fixtures.service import RunningService, running_service
from tests.fixtures.waiting import eventually

SHARDS = 8


def call(service: RunningService, method: str, path: str, user: str = "boss", **body: Any) -> httpx.Response:
    authorization = f"Bearer {service.token(user, 'organizer' if user == 'boss' else None)}"
    return httpx.request(
        method, service.url + path, json=body or None, headers={"Authorization": authorization}, timeout=10
    )


def own_bookings(service: RunningService) -> list[int]:
    """The events that ann has booked, as SQL has them."""
    return sorted(one["event_id"] for one in call(service, "GET", "/bookings", "ann").json()["data"])


def started_with(service: RunningService) -> dict[str, Any]:
    """The line of the log that says which shards live where."""
    service.logs("where the shards are in Redis")
    lines: list[dict[str, Any]] = [json.loads(line) for line in service.output.splitlines() if line.startswith("{")]
    found = [line for line in lines if line.get("event") == "where the shards are in Redis"]
    assert {json.dumps(line["primaries"]) for line in found} == {json.dumps(found[0]["primaries"])}
    return found[0]


def test_a_dead_primarys_shards_are_named_and_the_others_sold(clean_cluster: Cluster, tmp_path: Path) -> None:
    environment = {"BOOKING_REDIS_URL": clean_cluster.url, "BOOKING_RATE_LIMIT": "off"}
    with running_service(tmp_path / "data", environment) as service:
        told = started_with(service)
        assert told["form"] == "cluster"
        assert sorted(shard for own in told["primaries"].values() for shard in own) == list(range(SHARDS))
        sale: dict[str, Any] = {"event_name": "Opening night", "available_tickets": 10}
        events = [call(service, "POST", "/initialize", **sale).json()["event_id"] for _ in range(SHARDS)]
        stopped = clean_cluster.nodes[1]
        away = told["primaries"][stopped.location]
        gone = [event_id for event_id in events if keys.shard_of(event_id, SHARDS) in away]
        others = [event_id for event_id in events if event_id not in gone]
        stopped.send(signal.SIGSTOP)
        try:
            response = call(service, "GET", "/readyz")
            redis = response.json()["parts"]["redis"]
            assert (response.status_code, redis["ok"], redis["away"]) == (503, False, away)
            assert "Redis does not answer for these shards" in redis["reason"]
            for event_id in others:
                assert call(service, "POST", "/book", "ann", event_id=event_id).status_code == 201
            assert call(service, "POST", "/book", "ann", event_id=gone[0]).status_code == 503
            listed = call(service, "GET", "/events").json()
            assert sorted(event["id"] for event in listed["data"]) == others
            assert sorted(listed["unavailable"]) == gone
            eventually(lambda: own_bookings(service) == others, "the other shards are persisted")
            metrics = call(service, "GET", "/metrics").text.splitlines()
            assert f"booking_shards_away {len(away)}" in metrics
            up = {node.location: f'booking_redis_up{{primary="{node.location}"}} 1' for node in clean_cluster.nodes}
            assert [location for location, line in up.items() if line not in metrics] == [stopped.location]
        finally:
            stopped.send(signal.SIGCONT)
        eventually(lambda: call(service, "GET", "/readyz").status_code == 200, "it is ready again")
        assert call(service, "POST", "/book", "bob", event_id=gone[0]).status_code == 201
    eventually(clean_cluster.is_whole, "the cluster is whole again")


def test_a_node_starts_while_one_of_several_primaries_is_away(clean_cluster: Cluster, tmp_path: Path) -> None:
    environment = {"BOOKING_REDIS_URL": clean_cluster.url, "BOOKING_RATE_LIMIT": "off"}
    with running_service(tmp_path / "data", environment) as service:
        away = started_with(service)["primaries"][clean_cluster.nodes[2].location]
    clean_cluster.nodes[2].send(signal.SIGSTOP)
    try:
        service.start("/healthz")
        try:
            redis = call(service, "GET", "/readyz").json()["parts"]["redis"]
            assert redis["away"] == away
            late = call(service, "POST", "/initialize", event_name="Late", available_tickets=3)
            assert late.status_code == 201
            event_id = late.json()["event_id"]
            assert call(service, "POST", "/book", "ann", event_id=event_id).status_code == 201
            eventually(lambda: own_bookings(service) == [event_id], "the booking is persisted")
        finally:
            assert service.stop() == 0
    finally:
        clean_cluster.nodes[2].send(signal.SIGCONT)
    eventually(clean_cluster.is_whole, "the cluster is whole again")
