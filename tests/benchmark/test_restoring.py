"""A restoration, timed from outside."""

import sys
from pathlib import Path

import pytest

from scripts.benchmark.processes import PartError
from scripts.benchmark.restoring import restored, timed
from scripts.benchmark.session import Session

BUSY = """
import time
held = bytearray(200_000_000)
while time.process_time() < 0.2:
    pass
"""


def test_a_command_is_timed_with_its_own_memory_and_processor(tmp_path: Path) -> None:
    took = timed([sys.executable, "-c", BUSY], tmp_path / "log", {})
    assert took.seconds >= took.cpu_s * 0.5 > 0.1
    assert took.peak_mib > 190


def test_a_command_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(PartError, match=r"exit code 3:\nno such table"):
        timed([sys.executable, "-c", "import sys; print('no such table'); sys.exit(3)"], tmp_path / "log", {})


def test_an_emptied_redis_gets_back_all_that_was_booked(session: Session, tmp_path: Path) -> None:
    took = restored(session, tmp_path / "data", {}, 500)  # raises where fewer are there
    assert took.seconds > 0
    assert took.peak_mib > 0
