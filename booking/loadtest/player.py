"""One load process as the process that began it sees it: told what to do, listened to, ended."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson

from booking.loadtest.plan import Plan
from booking.loadtest.records import BuyerRecord, Findings, Found

LINE_BYTES_MAX = 16 << 20
END_SECONDS_MAX = 2.0

ShowProgress = Callable[[str, int, int, list[list[int]]], None]
"""Told (phase, process, calls answered so far, latest latencies as [ns, count])."""


class LoadProcessError(Exception):
    """A load process ended before its time, so that there is nothing to judge."""


class Player:
    """One load process, as seen from here."""

    def __init__(self, plan: Plan, number: int, secret: str, show: ShowProgress) -> None:
        self._plan = plan
        self._number = number
        self._secret = secret
        self._show = show
        self._phase = "signing"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it, and returns once it has signed its buyers' tokens."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "booking.loadtest.process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        # On a pipe and not among the arguments, where everybody on the machine could read the secret.
        await self._say(
            orjson.dumps({"plan": asdict(self._plan), "process": self._number, "secret": self._secret}) + b"\n"
        )
        await self._hear("ready")

    async def play(self, go_ns: int) -> dict[str, Any]:
        """Plays its part of the sale and returns what it measured."""
        self._phase = "selling"
        await self._say(b"go %d\n" % go_ns)
        played: dict[str, Any] = await self._hear("played")
        return played

    async def read(self, *, ask: bool) -> tuple[list[BuyerRecord], Findings, dict[str, Any]]:
        """Has it read its buyers' bookings: the records, what it found, and the latencies of the reading.

        Without `ask` the service is left alone, and the records come as the sale left them.
        """
        self._phase = "reading"
        await self._say(b"read %d\n" % ask)
        records: list[BuyerRecord] = []
        while (line := await self._line()).keys() == {"records"}:
            records += [_record(row) for row in line["records"]]
        findings = Findings.from_json(line["findings"])
        latencies: dict[str, Any] = (await self._hear("read"))["latencies"]
        return records, findings, latencies

    async def end(self) -> None:
        """Ends it, whatever it is doing."""
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS_MAX):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _say(self, line: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            await self._process.stdin.drain()
        except ConnectionError:
            raise LoadProcessError("a load process died; what it wrote stands above") from None

    async def _hear(self, wanted: str) -> Any:
        line = await self._line()
        assert line.keys() == {wanted}
        return line[wanted]

    async def _line(self) -> dict[str, Any]:
        """The next line that is not about progress."""
        assert self._process is not None
        assert self._process.stdout is not None
        while text := await self._process.stdout.readline():
            line: dict[str, Any] = orjson.loads(text)
            progress = line.get("progress")
            if progress is None:
                return line
            self._show(self._phase, self._number, progress["answers"], progress["latest"])
        raise LoadProcessError("a load process died; what it wrote stands above")


def _record(row: list[Any]) -> BuyerRecord:
    record = BuyerRecord(*row)
    record.found = Found(record.found)
    return record
