"""The persister's courtesy, where it is not allowed."""

import os

import pytest

from booking.processes.priority import give_way


async def test_where_a_sandbox_refuses_it_the_persister_goes_on_and_gives_its_signs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_thread: int, _policy: int, _parameter: os.sched_param) -> None:
        raise PermissionError  # systemd's SystemCallFilter=~@resources, with SystemCallErrorNumber=EPERM

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    heard, sign = os.pipe()
    try:
        give_way(sign)
        assert os.read(heard, 1) == b"."
    finally:
        os.close(heard)
        os.close(sign)
