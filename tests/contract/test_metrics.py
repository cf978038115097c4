"""The Prometheus page is right over several workers, after a worker's death, and without Redis."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from booking.metrics import FOLDER, Metrics, MetricsFile, escaped, together
from booking.web.endpoints.metrics import HELP
from tests.fixtures.service import RunningService, running_service
from tests.fixtures.waiting import eventually

from .api import Api, open_api

SAMPLE = re.compile(r'([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\]|\\.)*",?)*\})? (\S+)')


def metrics(api: Api) -> dict[str, float]:
    """Every sample of the page. Checks Prometheus's text format."""
    response = api.http.get("/metrics", headers={"Connection": "close"})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples: dict[str, float] = {}
    for line in response.text.splitlines():
        if not line.startswith("# "):
            match = SAMPLE.fullmatch(line)
            assert match, line
            samples[match[1] + (match[2] or "")] = float(match[3])
    return samples


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service of two workers, which the tests break and repair."""
    environment = {"BOOKING_RATE_LIMIT": "off", "BOOKING_WORKERS": "2"}
    with running_service(tmp_path_factory.mktemp("metrics") / "data", environment) as running:
        yield running


def test_counters_cover_all_workers_survive_a_kill_and_need_no_redis(two_workers: RunningService) -> None:
    with open_api(two_workers) as api:
        event_id = api.event(available_tickets=10, waitlist_limit=0)
        buyers = api.users(12)
        for buyer in buyers:
            response = api.http.post(
                "/book",
                json={"event_id": event_id},
                headers={"Authorization": buyer.authorization or "", "Connection": "close"},
            )
            assert response.status_code in (201, 409)
        booked = 'booking_requests_total{method="POST",route="/book",status="201"}'
        refused = 'booking_requests_total{method="POST",route="/book",status="409"}'
        # Each worker saves its counters once a second, so the shares arrive one after the other.
        eventually(
            lambda: (metrics(api).get(booked), metrics(api).get(refused)) == (10, 2), "every worker's share is in"
        )
        seen = metrics(api)
        assert seen['booking_request_duration_seconds_count{method="POST",route="/book"}'] == 12
        assert seen['booking_request_duration_seconds_bucket{method="POST",route="/book",le="+Inf"}'] == 12
        assert seen[f'booking_tickets{{event="{event_id}",state="sold"}}'] == 10
        assert seen[f'booking_refusals_total{{event="{event_id}",code="sold_out"}}'] == 2
        assert seen["booking_redis_up"] == seen["booking_database_up"] == seen['booking_shard_whole{shard="7"}'] == 1
        assert seen["booking_redis_replicas"] == seen['booking_shard_lag_seconds{shard="7"}'] == 0
        shards = [seen[f'booking_shard_lag_entries{{shard="{shard}"}}'] for shard in range(8)]
        assert sum(shards) == seen["booking_stream_lag_entries"]
        assert seen["booking_batch_commands_count"] >= 1
        eventually(lambda: metrics(api).get("booking_persisted_rows_total", 0) >= 11, "the persister's share is in")
        killed = two_workers.kill("worker-1")
        # Until it answers, its connections wait in the kernel.
        eventually(lambda: _answers(api, two_workers.parts().get("worker-1", killed)), "another worker", seconds=30)
        assert metrics(api)[booked] == 10, "a counter has decreased"
        two_workers.kill("redis", signal.SIGSTOP)
        try:
            without = metrics(api)
        finally:
            two_workers.kill("redis", signal.SIGCONT)
        assert (without["booking_redis_up"], without[booked]) == (0, 10)
        eventually(lambda: metrics(api)["booking_redis_up"] == 1, "Redis is seen to be back")


def _answers(api: Api, worker: int) -> bool:
    """Whether it was this worker that answered."""
    return f'booking_queue_commands{{pid="{worker}"}}' in metrics(api)


def test_every_metric_has_a_help_text(api: Api) -> None:
    text = api.http.get("/metrics").text
    for name, (kind, _) in HELP.items():
        assert f"# TYPE {name} {kind}\n" in text


def test_unknown_methods_share_one_label(api: Api) -> None:
    api.http.request("BREW", "/book")
    assert "BREW" not in api.http.get("/metrics").text


async def test_saved_metrics_of_ended_workers_are_added(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.count("booking_sheds_total", by=2)
    for value in (0.0005, 0.001, 0.3, 99):
        metrics.observe("booking_request_duration_seconds", escaped({"route": 'a "b"\\\n'}), value)
    file = MetricsFile(tmp_path)
    await file.save(metrics)
    assert await file.of_others() == []
    (tmp_path / f"{os.getpid()}.json").rename(tmp_path / "1.json")
    (read,) = await file.of_others()
    total = together([read, metrics])
    assert total.counters["booking_sheds_total", ""] == 4
    ((_, labels),) = total.histograms
    assert labels == r'route="a \"b\"\\\n"'
    (histogram,) = total.histograms.values()
    assert (histogram.counts[0], histogram.counts[-1]) == (4, 2)


def test_an_unwritable_folder_hides_no_metrics(two_workers: RunningService) -> None:
    """As on a full disk, when the metrics are needed."""
    with open_api(two_workers) as api:
        event_id = api.event(available_tickets=7)
        folder = two_workers.data_dir / FOLDER
        folder.rename(two_workers.data_dir / "aside")
        folder.write_text("no folder")
        assert metrics(api)[f'booking_tickets{{event="{event_id}",state="available"}}'] == 7
        folder.unlink()
        (two_workers.data_dir / "aside").rename(folder)
        made = 'booking_requests_total{method="POST",route="/initialize",status="201"}'
        eventually(lambda: made in metrics(api), "every worker's share is in")
