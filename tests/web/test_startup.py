"""A worker's connections: opened at its start or later, and what it answers until they are open."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from booking.inventory.errors import InventoryUnavailable
from booking.ledger.errors import LedgerUnavailable
from booking.settings import SettingsError
from booking.web import startup as module
from booking.web.startup import Startup
from tests.fixtures.waiting import eventually_async

PATIENCE_SECONDS = 20


class Parts:
    """Fails to open for these reasons, one at each attempt, and then opens."""

    def __init__(self, *reasons: BaseException) -> None:
        self.reasons = list(reasons)
        self.closed = 0
        self.is_open = False

    async def open(self, stack: AsyncExitStack) -> None:
        stack.callback(self._close)  # what had been opened before the fault
        if self.reasons:
            raise self.reasons.pop(0)
        self.is_open = True

    def _close(self) -> None:
        self.closed += 1
        self.is_open = False


async def asked(opening: Startup) -> BaseException:
    nothing: Any = None
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which one it is, is what is asked
        await opening.respond(nothing, nothing, nothing)
    return raised.value


@pytest.mark.parametrize("reason", [InventoryUnavailable("away"), LedgerUnavailable("away"), SettingsError("wrong")])
async def test_a_start_without_waiting_ends_with_the_reason_and_closes_its_parts(reason: Exception) -> None:
    parts = Parts(reason)
    with pytest.raises(type(reason)):
        async with Startup(parts.open, waits=False).opened():
            raise AssertionError("it is not open")
    assert parts.closed == 1


async def test_a_waiting_start_reports_what_is_away_and_opens_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_AGAIN_SECONDS", 0.02)
    parts = Parts(LedgerUnavailable("no database"), SettingsError("no replica"), RuntimeError("nobody foresaw it"))
    opening = Startup(parts.open, waits=True)
    async with opening.opened():
        first, again = await asked(opening), await asked(opening)
        assert (type(first), str(first)) == (LedgerUnavailable, "no database")
        assert again is not first, "one that is raised again and again would hold on to every request"

        async def is_away() -> bool:
            return type(await asked(opening)) is InventoryUnavailable

        await eventually_async(is_away, "what came next is told")
        await eventually_async(lambda: parts.is_open, "it opens")
        assert parts.closed == 3, "each attempt closed what it had opened"
    assert parts.closed == 4


async def test_a_waiting_start_does_not_hang_on_a_part_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_SECONDS_MAX", 0.02)

    async def never(_: AsyncExitStack) -> None:
        await asyncio.Event().wait()

    opening = Startup(never, waits=True)
    async with asyncio.timeout(PATIENCE_SECONDS), opening.opened():
        assert isinstance(await asked(opening), InventoryUnavailable)
