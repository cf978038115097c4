"""The data folder, its disk, and the service that service.json describes."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from booking.operations.doctor.folder import check_folder, check_service
from booking.processes.data_folder import DataFolder, running_service


def test_a_private_folder_is_fine_and_one_readable_by_others_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    missing, reader = check_folder(folder)
    assert (missing.verdict, "does not exist yet" in missing.found) == ("ok", True)
    assert (reader.name, reader.verdict) == ("disk space", "ok")
    assert not folder.exists()
    folder.mkdir(mode=0o700)
    assert [one.verdict for one in check_folder(folder)] == ["ok", "ok"]
    folder.chmod(0o755)
    (seen, _) = check_folder(folder)
    assert (seen.verdict, seen.advice) == ("warning", f"chmod 700 {folder}")


def test_what_cannot_be_a_folder_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert check_folder(tmp_path / "file")[0].verdict == "fault"
    assert check_folder(tmp_path / "file" / "data")[0].verdict == "fault"
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert "cannot be written" in check_folder(tmp_path / "data")[0].found


@pytest.mark.parametrize(("free", "verdict"), [(2e9, "ok"), (5e8, "warning"), (5e7, "fault")])
def test_a_disk_with_little_space_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, verdict: str
) -> None:
    class Usage:
        def __init__(self) -> None:
            self.free = free

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage())
    assert check_folder(tmp_path)[-1].verdict == verdict


def described(folder: Path, **service: Any) -> None:
    (folder / "service.json").write_text(json.dumps(service))


async def test_a_service_that_was_killed_does_not_run_and_one_that_is_silent_is_a_fault(tmp_path: Path) -> None:
    assert running_service(tmp_path) is None
    assert (await check_service(None)).verdict == "ok"
    described(tmp_path, pid=2**22 + 1, url="http://127.0.0.1:1")
    assert running_service(tmp_path) is None
    described(tmp_path, pid=os.getpid(), url="http://127.0.0.1:1")
    assert running_service(tmp_path) is None, "the killed one's process id is another's by now"
    folder = DataFolder(tmp_path)
    folder.open()
    silent = await check_service(running_service(tmp_path))
    assert (silent.verdict, "does not answer" in silent.found) == ("fault", True)
    folder.close()
    (tmp_path / "service.json").write_text("{")
    assert running_service(tmp_path) is None
