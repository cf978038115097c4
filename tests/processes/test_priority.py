"""The persister's priority: a sandbox that does not allow a lower one, and the normal one for its last entries."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from booking.processes.priority import lower_priority, restore_priority


async def test_a_sandbox_that_refuses_a_low_priority_does_not_stop_the_persister(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_thread: int, _policy: int, _parameter: os.sched_param) -> None:
        raise PermissionError  # systemd's SystemCallFilter=~@resources, with SystemCallErrorNumber=EPERM

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    heard, sign = os.pipe()
    try:
        lower_priority(sign)
        assert os.read(heard, 1) == b"."
    finally:
        os.close(heard)
        os.close(sign)


@pytest.fixture
def other() -> "Iterator[subprocess.Popen[bytes]]":
    """Another process, which ends when its input does."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise a priority")
def test_a_process_of_low_priority_is_given_normal_priority(other: "subprocess.Popen[bytes]") -> None:
    os.sched_setscheduler(other.pid, os.SCHED_IDLE, os.sched_param(0))
    restore_priority(other.pid)
    assert os.sched_getscheduler(other.pid) == os.SCHED_OTHER


def test_a_priority_that_may_not_be_raised_is_left(
    other: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    os.sched_setscheduler(other.pid, os.SCHED_IDLE, os.sched_param(0))

    def refuse(_thread: int, _policy: int, _parameter: os.sched_param) -> None:
        raise PermissionError  # as for a user that is not root

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    restore_priority(other.pid)
    assert os.sched_getscheduler(other.pid) == os.SCHED_IDLE
