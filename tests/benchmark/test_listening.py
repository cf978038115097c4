"""The service while people listen."""

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from booking.domain.outcomes import Status
from scripts.benchmark.figures import Load
from scripts.benchmark.filling import filler
from scripts.benchmark.listening import SPARE_FILES, Listened, gathered, too_few_files
from scripts.benchmark.processes import PartError
from scripts.benchmark.service import Service

UPDATE_S = 0.6
"""After a change, listeners have been told of it by then, or are told late enough to be told again."""


@pytest.fixture
def listened(running_service: Service) -> Iterator[Listened]:
    one = Listened(running_service, 20)
    yield one
    one.close()


def a_load(requests: int) -> Load:
    return Load(requests, 1.0, 0, broken=0, p50_ms=1, p99_ms=2, max_ms=3)


def test_they_hear_of_what_is_sold_and_are_gone_after_the_round(listened: Listened, running_service: Service) -> None:
    sale = listened.open_sale()
    (pid,) = listened.parts()["listeners"]
    with filler(running_service) as fill:
        for number in range(5):  # on a machine with much to do, one of the five is told of in time
            fill.book(sale.event_id, 1, f"buyer-{number}", Status.BOOKED, lambda _: None)
            time.sleep(UPDATE_S)
    assert listened.faults(sale, a_load(5)) == []
    (heard,) = listened.heard
    assert (heard.listeners, heard.lost) == (20, 0)
    assert heard.updates >= 20
    assert not Path(f"/proc/{pid}").exists()


def test_a_round_in_which_nobody_heard_anything_is_not_to_be_trusted(listened: Listened) -> None:
    sale = listened.open_sale()
    assert "the listeners heard of no change" in listened.faults(sale, a_load(0))


def test_listeners_to_no_event_end_with_a_reason(running_service: Service) -> None:
    with pytest.raises(PartError, match="could not be gathered"):
        gathered(running_service.url, 999_999, 2)


def test_too_few_open_files_are_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    told = too_few_files(5_000)
    assert told is not None
    assert "5,500 open files" in told
    assert "--scale" in told
    assert raised == []


def test_a_soft_limit_is_raised_as_far_as_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 8_192))
    assert too_few_files(5_000) is None
    assert too_few_files(100) is None
    assert raised == [(5_000 + SPARE_FILES, 8_192)]
