"""Checks the data folder, and the service that runs on it."""

import asyncio
import errno
import fcntl
import http.client
import json
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from booking.domain.diagnosis import Finding, fault, ok, warning

FREE_BYTES_WANTED = 1_000_000_000
"""A sale of a million bookings takes some 300 MB in SQL and as much in Redis's append-only file."""

FREE_BYTES_MIN = 100_000_000
"""With less free space than this the next sale may stop before its end."""

ANSWER_SECONDS_MAX = 5.0


def check_folder(path: Path) -> list[Finding]:
    """Whether the folder exists, only its owner may read it, and its disk has free space."""
    if not path.exists():
        return [_missing_folder(path), _disk_space(path)]
    if not path.is_dir():
        return [fault("data folder", f"{path} is not a folder", "set BOOKING_DATA_DIR to a folder")]
    found = path.stat()
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        advice = f"run the service as the user that owns it, or: chown -R {os.geteuid()} {path}"
        return [fault("data folder", f"{path} cannot be written", advice)]
    if not _locks_work(path / "lock"):
        return [
            fault("data folder", f"the file system of {path} has no locks that work", "use a folder on a local disk")
        ]
    described = f"{path}, mode {stat.S_IMODE(found.st_mode):04o}"
    if found.st_mode & 0o077:
        return [warning("data folder", f"{described}: other users may read it", f"chmod 700 {path}"), _disk_space(path)]
    return [ok("data folder", described), _disk_space(path)]


def _locks_work(lock: Path) -> bool:
    """Whether the lock of the data folder keeps a second process out; True if there is none yet."""
    with ExitStack() as stack:
        try:
            first, second = (stack.enter_context(lock.open("rb")) for _ in range(2))
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return True
        except OSError as error:
            return error.errno in (errno.EAGAIN, errno.EACCES)  # a service holds it
        try:
            fcntl.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _missing_folder(path: Path) -> Finding:
    parent = _nearest_existing(path)
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return ok("data folder", f"{path} does not exist yet; the first start creates it")
    return fault("data folder", f"{path} cannot be created: {parent} cannot be written", "set BOOKING_DATA_DIR")


def _disk_space(path: Path) -> Finding:
    free = shutil.disk_usage(_nearest_existing(path)).free
    found = f"{free / 1e9:,.1f} GB free"
    if free < FREE_BYTES_MIN:
        return fault("disk space", found, "free some space: a full disk stops the sale")
    if free < FREE_BYTES_WANTED:
        return warning("disk space", found, "free some space: a million bookings take some 600 MB")
    return ok("disk space", found)


def _nearest_existing(path: Path) -> Path:
    """The folder itself if it exists, else its nearest parent that does."""
    return next(one for one in (path, *path.parents) if one.exists())


async def check_service(service: Mapping[str, object] | None) -> Finding:
    """Whether the service of service.json reports that it is ready."""
    if service is None:
        return ok("service", "none runs on this data folder; checks of a running service are left out")
    url, parts = str(service.get("url")), service.get("parts")
    found = f"pid {service.get('pid')} on {url}"
    try:
        status, body = await asyncio.to_thread(_readiness, url)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = f"{found}, which does not answer ({type(error).__name__})"
        return fault("service", reason, "read its log; to stop it with Ctrl-C or SIGTERM and restart it loses nothing")
    if status == http.client.OK:
        return ok("service", f"{found}, ready ({', '.join(parts) if isinstance(parts, dict) else 'no processes'})")
    reasons = [f"{name}: {part.get('reason', 'not ok')}" for name, part in _parts(body).items() if not part.get("ok")]
    return fault("service", f"{found}, not ready", "; ".join(reasons) or f"it answers {status}: read its log")


def _readiness(url: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_SECONDS_MAX)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _parts(body: bytes) -> dict[str, dict[str, Any]]:
    try:
        parts: dict[str, dict[str, Any]] = json.loads(body)["parts"]
    except (ValueError, KeyError, TypeError):
        return {}
    return parts
