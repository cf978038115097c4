"""The embedded server's append-only file: whether it is damaged, and the repair of a damaged end.

The folder has a manifest, which names one base file (RDB) and the files of commands after it, in Redis's protocol. A
power cut may leave zeros or half a command at the end. Changes are acknowledged after fsync, so an acknowledged one is
there only if the disk broke its promise. The start compares Redis with SQL, and fences a shard that has lost changes.
"""

import mmap
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

FOLDER = "appendonlydir"
MANIFEST = "appendonly.aof.manifest"

_NAMED = re.compile(rb"file (\S+) seq (\d+) type ([bih])")
_DATA = re.compile(r"appendonly\.aof\.(\d+)\.(base|incr)\.(?:rdb|aof)")
_COMMAND = re.compile(rb"\*\d{1,9}\r\n\$")
_LINE_BYTES_MAX = 32
"""The longest line that says how many arguments follow, or how long one is."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with the files, for the operator."""

    found: str
    command: str
    """The shell command after which the server starts again; empty if `repair` does it."""
    loss: str
    """What is lost, as a sentence."""
    path: Path
    keep_bytes: int = 0
    """If `repair` does it: the bytes at the beginning of `path` that stay."""
    manifest: bytes = b""
    """If `repair` does it: the new manifest."""

    def __str__(self) -> str:
        return f"{self.found}; to start again: {self.command}. {self.loss}"


def examine(folder: Path, *, thoroughly: bool = False) -> Damage | None:
    """The damage of the files in `folder`, the server's working folder; None if there is none. Raises OSError.

    Without `thoroughly` it reads the last file's commands only if that file does not end as a command does.
    """
    files = folder / FOLDER
    if not files.is_dir():
        return None
    present = sorted(path.name for path in files.iterdir() if _DATA.fullmatch(path.name))
    named = _read_manifest(files / MANIFEST)
    if named is None:
        return _manifest_damage(folder, present)
    missing = [name for name in named if not (files / name).exists()]
    if missing:
        return _start_from_sql(folder, f"{files / missing[0]} is missing")
    commands = [files / name for name in named if ".incr." in name]
    for path in commands if thoroughly else commands[-1:]:
        damage = _examine_commands(path, is_last=path == commands[-1], always=thoroughly)
        if damage is not None:
            return damage
    return None


def repair(folder: Path, damage: Damage) -> str:
    """Repairs a damage whose `command` is empty, and returns a line that says what was done. Raises OSError."""
    if damage.manifest:
        _write(damage.path, damage.manifest)
        return f"{damage.found}: it is written again from the files that are there"
    with damage.path.open("r+b") as file:
        file.seek(damage.keep_bytes)
        cut = file.read().rstrip(b"\0")
        kept = ""
        if cut:
            copy = folder / f"cut-off-at-{damage.keep_bytes}.aof"
            _write(copy, cut)
            kept = f" (a copy is in {copy})"
        file.truncate(damage.keep_bytes)
        os.fsync(file.fileno())
    return f"{damage.found}: they are cut off{kept}. {damage.loss}"


def start_from_sql(folder: Path) -> str:
    """The command that puts the files aside, so that the next start restores everything from SQL."""
    return f"mv {shlex.quote(str(folder))} {shlex.quote(f'{folder}.damaged')}"


def _start_from_sql(folder: Path, found: str) -> Damage:
    loss = "It starts with what the database has: changes and idempotency keys that only Redis had are lost."
    return Damage(found, start_from_sql(folder), loss, folder)


def _read_manifest(path: Path) -> list[str] | None:
    """The names of the files in use, in their order; None if the manifest is missing or damaged."""
    try:
        lines = [line for line in path.read_bytes().splitlines() if line and not line.startswith(b"#")]
    except FileNotFoundError:
        return None
    matches = [_NAMED.fullmatch(line) for line in lines]
    found = [match for match in matches if match is not None]
    if not found or len(found) < len(lines):
        return None
    return [os.fsdecode(match[1]) for match in found if match[3] != b"h"]


def _manifest_damage(folder: Path, present: list[str]) -> Damage | None:
    path = folder / FOLDER / MANIFEST
    if not present:
        return None if not path.exists() else _start_from_sql(folder, f"{path} is damaged")
    found = f"{path} is {'damaged' if path.exists() else 'missing'}"
    parts = {match[2]: (name, match[1]) for name in present if (match := _DATA.fullmatch(name))}
    if len(present) != len(parts) or parts.keys() != {"base", "incr"}:
        # Of several files it is not known which are in use: a server may have ended while it wrote a new base.
        return _start_from_sql(folder, found)
    lines = [f"file {name} seq {seq} type {kind[0]}\n" for kind, (name, seq) in sorted(parts.items())]
    return Damage(found, "", "", path, manifest="".join(lines).encode())


def _examine_commands(path: Path, *, is_last: bool, always: bool) -> Damage | None:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size == 0:
            return None
        file.seek(max(0, size - 2))
        if not always and file.read() == b"\r\n":
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            good, stopped = _whole_commands(data)
            if good == size:
                return None
            follow = any(_end_of(data, match.start()) for match in _COMMAND.finditer(data, stopped + 1))
    if is_last and not follow:
        loss = "If a change that was acknowledged is lost with them, its shard sells nothing until booking restore."
        return Damage(f"{path} ended in {size - good:,} damaged bytes", "", loss, path, keep_bytes=good)
    name = shlex.quote(str(path))
    command = f"cp {name} {shlex.quote(f'{path}.damaged')} && truncate -s {good} {name}"
    loss = (
        f"That drops the {size - good:,} bytes after it, which have readable changes; those that the database has come "
        "back with booking restore"
    )
    if not is_last:
        return _start_from_sql(path.parent.parent, f"{path} is damaged at byte {good:,} of {size:,}")
    return Damage(f"{path} is damaged at byte {good:,} of {size:,}", command, f"{loss}, the others are lost.", path)


def _whole_commands(data: mmap.mmap) -> tuple[int, int]:
    """The end of the last whole command outside a transaction, and where the first command that is not whole begins."""
    at = good = 0
    in_transaction = False
    while at < len(data) and (end := _end_of(data, at)):
        if data[at : at + 4] == b"*1\r\n":
            word = data[at:end].rpartition(b"\r\n")[0].rpartition(b"\r\n")[2].upper()
            in_transaction = word == b"MULTI" or (in_transaction and word != b"EXEC")
        at = end
        if not in_transaction:
            good = at
    return good, at


def _end_of(data: mmap.mmap, at: int) -> int:
    """Where the command that begins at `at` ends; 0 if it is not whole."""
    if data[at : at + 1] == b"#":  # a remark of the server, such as a time
        return data.find(b"\n", at) + 1
    count, at = _number(data, at, b"*")
    if count < 1:
        return 0
    for _ in range(count):
        length, at = _number(data, at, b"$")
        if length < 0 or data[at + length : at + length + 2] != b"\r\n":
            return 0
        at += length + 2
    return at


def _number(data: mmap.mmap, at: int, kind: bytes) -> tuple[int, int]:
    """The number in the line that begins at `at`, and where the next line begins; -1 if there is none."""
    end = data.find(b"\r\n", at, at + _LINE_BYTES_MAX)
    digits = data[at + 1 : end]
    if end < 0 or data[at : at + 1] != kind or not digits.isdigit():
        return -1, at
    return int(digits), end + 2


def _write(path: Path, content: bytes) -> None:
    """Writes a file as a whole, for its owner only, so that it is on disk when this returns."""
    aside = path.with_name(f".{path.name}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
