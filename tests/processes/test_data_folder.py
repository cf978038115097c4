"""The ownership of the data folder."""

import asyncio
import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from booking.domain.diagnosis import Verdict
from booking.operations.doctor.folder import check_folder
from booking.processes import data_folder
from booking.processes.data_folder import DataFolder, DataFolderTaken, LocksMissing
from tests.fixtures.waiting import eventually_async


@pytest.fixture
def holder(tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    """Another process that inherited the folder's lock from a service that has ended."""
    folder = DataFolder(tmp_path)
    folder.open()
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(folder.lock,), text=True
    ) as process:
        folder.close()
        (tmp_path / "lock").write_text("999999999\n")
        yield process
        process.kill()


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path), DataFolder(tmp_path)
    first.open()
    with pytest.raises(DataFolderTaken, match=rf"another booking serve \(pid {os.getpid()}\) is using {tmp_path}"):
        second.open()
    first.close()
    second.open()
    second.close()


@pytest.mark.parametrize("number", [None, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_folder_whose_locks_keep_no_process_out_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    """As on some network file systems; a system call stands in for one of them."""

    def flock(_descriptor: object, _operation: int) -> None:
        if number is not None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(LocksMissing, match=f"BOOKING_DATA_DIR: the file system of {tmp_path} has no locks that work"):
        DataFolder(tmp_path).open()
    (finding,) = check_folder(tmp_path)
    assert (finding.verdict, "no locks that work" in finding.found) == (Verdict.FAULT, True)


def test_an_owner_process_of_another_user_counts_as_alive(
    tmp_path: Path, holder: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    with pytest.raises(DataFolderTaken, match="pid 999999999"):
        DataFolder(tmp_path).open()
    assert holder.poll() is None


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.open()
    folder.close()
    folder.close()
    assert folder.lock == -1


def test_a_folder_is_taken_over_after_a_dead_owner_s_last_child_ended(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    folder = DataFolder(tmp_path)
    holder.kill()
    folder.open()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    folder.close()


def test_a_dead_owner_s_living_child_keeps_the_folder_locked(
    tmp_path: Path, holder: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_folder, "TAKEOVER_SECONDS", 0.1)
    with pytest.raises(DataFolderTaken):
        DataFolder(tmp_path).open()
    assert holder.poll() is None


def test_a_lock_that_cannot_be_made_is_an_error_of_the_system_s(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(IsADirectoryError):
        DataFolder(tmp_path).open()


def test_service_json_is_removed_when_the_service_ends(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.open()
    folder.describe({"pid": 1})
    assert (tmp_path / "service.json").read_text() == '{\n  "pid": 1\n}\n'
    folder.close()
    assert not (tmp_path / "service.json").exists()


async def test_service_json_is_written_as_soon_as_the_disk_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_folder, "DESCRIBE_RETRY_SECONDS", 0.01)
    no_room = tmp_path / ".service.json"
    no_room.mkdir()
    folder = DataFolder(tmp_path)
    folder.open()
    folder.describe({"pid": 1})
    folder.describe({"pid": 2})
    no_room.rmdir()
    await eventually_async((tmp_path / "service.json").exists, "it is written")
    assert (tmp_path / "service.json").read_text() == '{\n  "pid": 2\n}\n'
    no_room.mkdir()
    folder.describe({"pid": 3})
    folder.close()
    no_room.rmdir()
    # A later timer of the same loop: the next attempt would have come before it.
    await asyncio.sleep(2 * data_folder.DESCRIBE_RETRY_SECONDS)
    assert not (tmp_path / "service.json").exists()
