"""Controls one load process from its parent process: starts it, sends commands, reads results, ends it."""

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
"""Called with (phase, process, responses so far, latest latencies as [ns, count])."""


class LoadProcessError(Exception):
    """A load process ended early, so that there is nothing to judge."""


class Player:
    """One load process."""

    def __init__(self, plan: Plan, number: int, secret: str, show: ShowProgress) -> None:
        self._plan = plan
        self._number = number
        self._secret = secret
        self._show = show
        self._phase = "signing"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts the process; returns when it has signed its buyers' tokens. Raises LoadProcessError."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "booking.loadtest.process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        # On a pipe and not in the arguments, because all users of the machine can read arguments.
        await self._send(
            orjson.dumps({"plan": asdict(self._plan), "process": self._number, "secret": self._secret}) + b"\n"
        )
        await self._receive("ready")

    async def play(self, go_ns: int) -> dict[str, Any]:
        """Plays its part of the sale; returns what it measured. Raises LoadProcessError."""
        self._phase = "selling"
        await self._send(b"go %d\n" % go_ns)
        played: dict[str, Any] = await self._receive("played")
        return played

    async def read(self, *, ask: bool) -> tuple[list[BuyerRecord], Findings, dict[str, Any]]:
        """Reads the bookings of its buyers; returns the records, the findings, and the latencies of the reads.

        Without `ask`, it makes no calls, and returns the records of the sale. Raises LoadProcessError.
        """
        self._phase = "reading"
        await self._send(b"read %d\n" % ask)
        records: list[BuyerRecord] = []
        while (line := await self._line()).keys() == {"records"}:
            records += [_record(row) for row in line["records"]]
        findings = Findings.from_json(line["findings"])
        latencies: dict[str, Any] = (await self._receive("read"))["latencies"]
        return records, findings, latencies

    async def end(self) -> None:
        """Ends the process: closes its input, and kills it if it has not ended after END_SECONDS_MAX."""
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

    async def _send(self, line: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            await self._process.stdin.drain()
        except ConnectionError:
            raise LoadProcessError("a load process died; what it wrote stands above") from None

    async def _receive(self, wanted: str) -> Any:
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
