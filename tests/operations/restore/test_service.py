"""A running service whose Redis loses its data or loads an old copy: nothing is sold from wrong data."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tests.contract.api import Api, open_api
from tests.contract.client import Caller
from tests.fixtures.commands import run_command
from tests.fixtures.service import RunningService, both_answer, running_service
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.timeout(300)  # each restoration is a process of its own


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service whose Redis loses its data while it runs. Each test leaves it restored."""
    folder = tmp_path_factory.mktemp("restored")
    with running_service(folder / "data", {"BOOKING_WORKERS": "2", "BOOKING_RATE_LIMIT": "off"}) as running:
        yield running


def book(api: Api, event_id: int, caller: Caller | None = None) -> httpx.Response:
    """A booking over a new connection, whatever its answer, which may be a 503."""
    headers = {"Authorization": (caller or api.user()).authorization or ""}
    with httpx.Client(base_url=api.base_url, timeout=30, trust_env=False) as http:
        return http.post("/book", json={"event_id": event_id}, headers=headers)


def restore(service: RunningService, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_command(["restore", *arguments], {"BOOKING_DATA_DIR": str(service.data_dir), "NO_COLOR": "1"})


def in_sql(api: Api, event_id: int, bookings: int) -> None:
    """Waits until the database has so many bookings of an event."""

    def has_them() -> bool:
        report = api.organizer.get(f"/events/{event_id}/report")
        totals: dict[str, int] = report.data["totals"]
        return totals["bookings"] == bookings

    eventually(has_them, "SQL has the bookings")


def sold_out(api: Api) -> tuple[int, list[Caller]]:
    """An event whose bookings are in the database, too."""
    event_id, buyers = api.sold_out(available_tickets=3)
    in_sql(api, event_id, 3)
    return event_id, buyers


def redis_part(service: RunningService) -> dict[str, object]:
    """What /readyz says of Redis."""
    part: dict[str, object] = httpx.get(f"{service.base_url}/readyz", timeout=5).json()["parts"]["redis"]
    return part


def check(api: Api, event_id: int, buyers: list[Caller]) -> None:
    """Checks that every user still has their ticket, that no other user gets one, and that both sides agree."""
    for buyer in buyers:
        assert api.user(buyer.id).booking(event_id).data["status"] == "confirmed"
    assert book(api, event_id).status_code == 202
    audit = api.organizer.get(f"/events/{event_id}/audit").data
    assert (audit["ok"], audit["differences"]) == (True, [])


def test_an_emptied_redis_sells_nothing_until_it_is_restored(service: RunningService) -> None:
    with open_api(service) as api:
        event_id, buyers = sold_out(api)
        tags = {
            path: api.http.get(path).headers["etag"] for path in (f"/status/{event_id}", f"/events/{event_id}/details")
        }
        with Redis(unix_socket_path=str(service.data_dir / "redis.sock")) as redis:
            for key in redis.keys("booking:*"):
                redis.delete(key)
        answer = book(api, event_id)
        assert (answer.status_code, answer.json()["code"]) == (503, "inventory_unavailable")
        assert answer.headers["retry-after"] == "1"
        ready = httpx.get(f"{service.base_url}/readyz", timeout=5)
        assert ready.status_code == 503
        assert "booking restore" in ready.json()["parts"]["redis"]["reason"]
        asked = restore(service)
        assert (asked.returncode, "--yes" in asked.stderr) == (2, True), "no terminal to confirm on"
        assert restore(service, "--shard", "99").returncode == 2
        done = restore(service, "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        restored = re.findall(r"(\d+) live bookings", done.stderr)
        assert sum(map(int, restored)) >= len(buyers), done.stderr
        eventually(lambda: both_answer(lambda: book(api, event_id), 202), "both workers sell again")
        check(api, event_id, buyers)
        for path, tag in tags.items():
            answer = api.http.get(path, headers={"If-None-Match": tag})
            assert (answer.status_code, answer.headers["etag"] != tag) == (200, True), "it may be another history"
        assert restore(service, "--yes").returncode == 0
        forced = restore(service, "--yes", "--force", "--shard", str(event_id % 8))
        assert forced.returncode == 0, forced.stdout + forced.stderr
        eventually(lambda: both_answer(lambda: book(api, event_id), 202), "both workers sell again")


def test_a_service_that_starts_on_an_empty_redis_restores_it_once(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", {"BOOKING_WORKERS": "3"}) as service:
        with open_api(service) as api:
            event_id, buyers = sold_out(api)
        assert service.stop() == 0
        shutil.rmtree(service.data_dir / "redis")
        service.start()
        with open_api(service) as api:
            check(api, event_id, buyers)
            assert api.event() == event_id + 1, "no id is given out again"
        service.logs("Redis was empty")
        told = [line for line in service.output.splitlines() if "Redis was empty" in line]
        assert len(told) == 1, "the one shard that had anything, by one worker of three"


def test_nothing_is_sold_from_an_old_copy_found_at_the_start(tmp_path: Path) -> None:
    with running_service(tmp_path / "data") as service:
        with open_api(service) as api:
            event_id = api.event(available_tickets=3)
            files, copy = service.data_dir / "redis", tmp_path / "copy"
            shutil.copytree(files, copy)
            buyers = api.users(3)
            for buyer in buyers:
                assert buyer.book(event_id).status == 201
        assert service.stop() == 0
        shutil.rmtree(files)
        shutil.copytree(copy, files)
        service.start("/healthz")
        with open_api(service) as api:
            assert book(api, event_id).status_code == 503
            assert restore(service, "--yes").returncode == 0
            eventually(lambda: book(api, event_id).status_code == 202, "it sells again, from the true stock")
            check(api, event_id, buyers)


def test_nothing_is_sold_from_an_old_copy_restored_under_a_running_service(
    service: RunningService, tmp_path: Path
) -> None:
    with open_api(service) as api:
        event_id = api.event(available_tickets=3)
        files, copy = service.data_dir / "redis", tmp_path / "copy"
        shutil.copytree(files, copy)
        buyers = api.users(3)
        for buyer in buyers:
            assert buyer.book(event_id).status == 201
        in_sql(api, event_id, 3)
        with service.without_supervision():
            killed = service.kill("redis")
            files.rename(tmp_path / "gone")
            copy.rename(files)
        eventually(lambda: service.parts().get("redis", killed) != killed, "redis comes back")
        eventually(
            lambda: httpx.get(f"{service.base_url}/readyz", timeout=5).json()["parts"]["redis"].get("lost"), "seen"
        )
        assert book(api, event_id).status_code == 503
        assert api.http.get(f"/status/{event_id}").status_code == 503
        assert restore(service, "--yes").returncode == 0
        eventually(lambda: both_answer(lambda: book(api, event_id), 202), "both workers sell again")
        check(api, event_id, buyers)
