"""Processes under measurement."""

import os
import sys
from pathlib import Path

import pytest

from scripts.benchmark.processes import (
    TICKS_PER_S,
    PartError,
    busy_cores_s,
    cpu_seconds,
    running,
    used_cpu_s,
    wait_until,
)

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_processor_time_is_read_behind_a_name_with_brackets_and_blanks() -> None:
    stat = "42 (a) (odd) name) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 3 0 100"
    assert cpu_seconds(stat) * TICKS_PER_S == pytest.approx(300)


def test_a_process_that_is_gone_used_no_processor_time() -> None:
    assert used_cpu_s([2**22 + 1]) == 0
    assert used_cpu_s([os.getpid(), 2**22 + 1]) > 0


def test_the_machines_time_leaves_out_idling_and_waiting_for_disks() -> None:
    assert busy_cores_s("cpu  10 20 30 9999 888 1 2 3 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n") * TICKS_PER_S == pytest.approx(
        66
    )


def test_a_part_is_gone_after_its_block(tmp_path: Path) -> None:
    with running(SLEEP, tmp_path / "log") as process:
        assert Path(f"/proc/{process.pid}").exists()
    assert process.returncode is not None
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_part_is_gone_after_its_block_has_failed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), running(SLEEP, tmp_path / "log") as process:
        raise KeyboardInterrupt
    assert process.returncode is not None


def test_a_part_that_ends_before_it_is_ready_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no such setting')"]
    log = tmp_path / "log"
    with running(command, log) as process, pytest.raises(PartError, match=r"ended:\nno such setting"):
        wait_until(lambda: False, process, log, 30)


def test_a_part_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(SLEEP, log) as process, pytest.raises(PartError, match="not ready within 0 s"):
        wait_until(lambda: False, process, log, 0.05)
