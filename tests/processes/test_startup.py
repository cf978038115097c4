"""A worker that starts while Redis or SQL is away: clients get an answer that says so, and the worker recovers."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import httpx
import pytest

from tests.fixtures.service import RunningService, both_answer, running_service
from tests.fixtures.waiting import eventually
from tests.processes.connections import open_sale


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


def is_killed(service: RunningService, part: str) -> bool:
    """Kills a part if it runs; one that has ended at its start is started again a moment later."""
    try:
        service.kill(part)
    except ProcessLookupError:
        return False
    return True


def look(service: RunningService, event_id: int) -> httpx.Response | None:
    """A worker's answer; None if the worker ends at its start."""
    try:
        return httpx.get(f"{service.base_url}/status/{event_id}", timeout=30, trust_env=False)
    except httpx.TransportError:
        return None


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(tmp_path_factory.mktemp("startup") / "data", {"BOOKING_WORKERS": "2"}) as running:
        yield running


@pytest.mark.parametrize("away", [redis_away, sql_away])
def test_workers_killed_while_a_server_is_away_say_so_until_it_returns(
    service: RunningService, away: Callable[[RunningService], AbstractContextManager[str]]
) -> None:
    event_id = open_sale(service)
    with away(service) as code:
        before = service.parts()
        for number in (1, 2):
            eventually(partial(is_killed, service, f"worker-{number}"), "it runs")
        eventually(lambda: service.parts().keys() >= before.keys(), "they are started again")

        def is_told() -> bool:
            answer = look(service, event_id)
            if answer is None:
                return False
            return (answer.status_code, answer.json()["code"]) == (503, code) and "retry-after" in answer.headers

        eventually(is_told, "a worker answers with what is away")

    eventually(lambda: both_answer(partial(look, service, event_id), 200), "they have opened")
