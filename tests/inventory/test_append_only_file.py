"""The append-only file after a power cut or a damage: what is cut off, and what the operator is told."""

from collections.abc import Callable
from pathlib import Path

import pytest

from booking.inventory.append_only_file import FOLDER, MANIFEST, Damage, examine, repair

SET = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\n\r\n*1\r\n"
TRANSACTION = b"*1\r\n$5\r\nMULTI\r\n" + SET + SET + b"*1\r\n$4\r\nEXEC\r\n"
WHOLE = b"#TS:1795907974\r\n" + SET + TRANSACTION + SET
LINES = b"file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / MANIFEST).write_bytes(LINES)
    (tmp_path / FOLDER / "appendonly.aof.1.base.rdb").write_bytes(b"REDIS0011")
    commands(tmp_path).write_bytes(WHOLE)
    return tmp_path


def commands(folder: Path) -> Path:
    return folder / FOLDER / "appendonly.aof.1.incr.aof"


def damage_of(folder: Path, *, thoroughly: bool = True) -> Damage:
    found = examine(folder, thoroughly=thoroughly)
    assert found is not None
    return found


@pytest.mark.parametrize("thoroughly", [True, False])
def test_whole_files_and_no_files_have_no_damage(folder: Path, tmp_path: Path, thoroughly: bool) -> None:
    assert examine(folder, thoroughly=thoroughly) is None
    commands(folder).write_bytes(b"")
    assert examine(folder, thoroughly=thoroughly) is None
    assert examine(tmp_path / "none", thoroughly=thoroughly) is None


ENDS = [
    b"\0" * 10_000,
    *(SET[:cut] for cut in range(1, len(SET)) if not SET[:cut].endswith(b"\r\n")),
    SET[:-3] + b"\0" * 4_096,
    TRANSACTION[:-1],
    TRANSACTION[: len(SET) + 20] + b"\0" * 100,
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: f"{len(end)}-bytes")
def test_a_damaged_end_is_cut_off_after_the_last_whole_transaction(folder: Path, end: bytes) -> None:
    commands(folder).write_bytes(WHOLE + end)
    damage = damage_of(folder, thoroughly=False)
    assert damage.command == ""
    line = repair(folder, damage)
    assert f"{len(end):,} damaged bytes" in line
    assert commands(folder).read_bytes() == WHOLE
    assert examine(folder, thoroughly=True) is None
    kept = [path.read_bytes() for path in folder.glob("cut-off-*")]
    assert kept == [end.rstrip(b"\0")] * bool(end.rstrip(b"\0"))


def test_damage_before_readable_changes_is_left_and_the_command_is_told(folder: Path) -> None:
    commands(folder).write_bytes(WHOLE + b"\0" * 100 + SET + b"\0")
    damage = damage_of(folder)
    assert f"truncate -s {len(WHOLE)} {commands(folder)}" in str(damage)
    assert "lost" in str(damage)
    assert "\n" not in str(damage)


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero(path: Path) -> None:
    path.write_bytes(b"\0" * len(LINES))


@pytest.mark.parametrize("harm", [remove, empty, zero])
def test_a_lost_manifest_of_one_pair_of_files_is_written_again(folder: Path, harm: Callable[[Path], None]) -> None:
    harm(folder / FOLDER / MANIFEST)
    damage = damage_of(folder, thoroughly=False)
    assert damage.command == ""
    assert MANIFEST in repair(folder, damage)
    assert (folder / FOLDER / MANIFEST).read_bytes() == LINES


def test_a_lost_manifest_of_several_files_starts_from_the_database(folder: Path) -> None:
    (folder / FOLDER / "appendonly.aof.2.base.rdb").write_bytes(b"REDIS0011")
    remove(folder / FOLDER / MANIFEST)
    assert damage_of(folder).command == f"mv {folder} {folder}.damaged"


def test_a_missing_file_is_told_with_what_is_lost(folder: Path) -> None:
    remove(commands(folder))
    damage = damage_of(folder, thoroughly=False)
    assert f"{commands(folder)} is missing; to start again: mv {folder} {folder}.damaged. " in str(damage)
    assert "lost" in damage.loss
