"""An export, and the worker's memory beside it."""

import os

import pytest

from booking.domain.outcomes import Status
from scripts.benchmark.export import GROWTH_MIB_MOST, export_marks, resident_mib, status_kib
from scripts.benchmark.filling import filler, wait_until_saved
from scripts.benchmark.processes import PartError
from scripts.benchmark.service import Service


def silent(_: str) -> None:
    pass


def test_memory_is_read_by_the_fields_own_name() -> None:
    status = "Name:\tVmRSS: 9\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"
    assert (status_kib(status, "VmHWM"), status_kib(status, "VmRSS")) == (2048, 1024)
    assert resident_mib(os.getpid(), "VmHWM") > 0


def test_the_marks_tell_rows_and_how_much_memory_grew(running_service: Service) -> None:
    large, small = (running_service.open_sale().event_id for _ in range(2))
    with filler(running_service) as fill:
        fill.book(large, 3_000, "live", Status.BOOKED, silent)
        fill.book(small, 30, "live", Status.BOOKED, silent)
    wait_until_saved(running_service, silent)
    took, rate, peak = export_marks(running_service, large, small, silent)
    assert "the export of 3,000 rows" in took.what
    assert rate.value == pytest.approx(3_000 / took.value)
    assert (peak.unit, peak.most, peak.reached) == ("MiB", GROWTH_MIB_MOST, True)


def test_an_answer_that_is_no_file_is_told_and_not_timed(running_service: Service) -> None:
    with pytest.raises(PartError, match="answered 404"):
        list(running_service.stream("/events/999999/bookings?format=csv"))
