"""The persister in a sandbox that does not allow a lower priority."""

import os

import pytest

from booking.processes.priority import lower_priority


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
