"""A worker that comes up while something is away: buyers hear of it, and it opens by itself."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.fixtures.service import RunningService, running_service
from tests.fixtures.waiting import eventually
from tests.processes.crowd import open_sale


@contextmanager
def redis_away(service: RunningService) -> Iterator[str]:
    service.kill("redis", signal.SIGSTOP)
    try:
        yield "inventory_unavailable"
    finally:
        service.kill("redis", signal.SIGCONT)


@contextmanager
def sql_away(service: RunningService) -> Iterator[str]:
    file = service.data_dir / "booking.sqlite3"
    file.rename(service.data_dir / "elsewhere")
    try:
        yield "database_unavailable"
    finally:
        (service.data_dir / "elsewhere").rename(file)


@pytest.mark.parametrize(("away", "workers"), [(redis_away, 1), (sql_away, 2)])
def test_workers_killed_while_something_is_away_say_so_until_it_is_back(
    tmp_path: Path, away: Callable[[RunningService], AbstractContextManager[str]], workers: int
) -> None:
    with running_service(tmp_path / "data", {"BOOKING_WORKERS": str(workers)}) as service:
        event_id = open_sale(service)
        with away(service) as code:
            before = service.parts()
            for number in range(1, workers + 1):
                service.kill(f"worker-{number}")
            eventually(lambda: service.parts().keys() >= before.keys(), "they are started again")

            def is_told() -> bool:
                try:
                    answer = httpx.get(f"{service.base_url}/status/{event_id}", timeout=5, trust_env=False)
                except httpx.TransportError:  # of one that ends at its start, as long as there is another
                    return False
                return (answer.status_code, answer.json()["code"]) == (503, code) and "retry-after" in answer.headers

            eventually(is_told, "a worker answers with what is away")

        def all_open() -> bool:  # each connection leads to one of them
            looks = [httpx.get(f"{service.base_url}/status/{event_id}", timeout=30, trust_env=False) for _ in range(8)]
            return {look.status_code for look in looks} == {200}

        eventually(all_open, "they have opened")
