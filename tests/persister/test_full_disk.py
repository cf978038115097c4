"""On a really full disk sales continue, no change is lost, and free space is enough to recover."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from booking.persister import persister as module
from tests.fixtures.backend import Backend, open_backend
from tests.fixtures.notes import Notes, take_notes
from tests.fixtures.waiting import eventually_async

DISK_BYTES = 4 * 1024 * 1024


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes in memory."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system to fill; tests/ledger/test_unavailable.py fills a file instead")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"this system lets nobody mount a file system: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
async def backend(clean_valkey: str, tiny_disk: Path, tmp_path: Path) -> AsyncIterator[Backend]:
    async with open_backend(clean_valkey, f"sqlite:///{tiny_disk / 'booking.sqlite3'}", tmp_path) as opened:
        for event_id in (1, 2, 3):
            await opened.stock.sale(event_id, capacity=200)
        yield opened


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    return take_notes(monkeypatch, module)


async def noted(notes: Notes, event: str) -> None:
    await eventually_async(lambda: event in [line[1] for line in notes.lines], f'"{event}" is logged')


def fill(disk: Path) -> Path:
    """Fills the disk."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 512):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return ballast


async def test_a_full_disk_stops_no_sale_and_loses_and_doubles_no_change(
    backend: Backend, tiny_disk: Path, notes: Notes, seed: int
) -> None:
    stop = asyncio.Event()
    async with backend.persister() as persister:
        load = asyncio.create_task(backend.load(seed, stop))
        carrying = asyncio.create_task(persister.run(stop))
        for _ in range(2):
            ballast = await asyncio.to_thread(fill, tiny_disk)
            await noted(notes, "the persister waits")
            await backend.sells_on()
            ballast.unlink()
            await noted(notes, "the persister resumes")
            reasons = [fields["reason"] for _, event, fields in notes.lines if event == "the persister waits"]
            assert any("full" in reason for reason in reasons), reasons
            notes.lines.clear()
        stop.set()
        await asyncio.gather(load, carrying)
    await backend.drain()
    await backend.check_both_sides_agree()
