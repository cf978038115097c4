"""The data folder of a running service: its lock, and service.json, which says how to reach the service."""

import asyncio
import errno
import fcntl
import json
import os
import time
from pathlib import Path

TAKEOVER_SECONDS = 5.0
"""How long the last process of a killed service may hold the lock before the next start fails."""


DESCRIBE_RETRY_SECONDS = 1.0
"""Between two attempts to write service.json on a full disk."""


NO_LOCKS = "BOOKING_DATA_DIR: the file system of {} has no locks that work; name a folder on a local disk"


class DataFolderTaken(Exception):
    """Another service runs on this data folder; the message names its process."""


class LocksMissing(Exception):
    """The data folder's file system has no locks, so two services could run on it at once."""


class DataFolder:
    """Locks the folder from `open` to `close`, for this process and for those that inherit `lock`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = -1
        """The lock's file descriptor. A child that inherits it keeps the folder locked while it lives."""
        self._again: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Creates the folder (mode 0700) and locks it.

        Raises DataFolderTaken if a running process has locked it, LocksMissing if that cannot be found out, and OSError
        if it cannot be created or written.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + TAKEOVER_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    os.close(lock)
                    raise LocksMissing(f"{NO_LOCKS.format(self.path)} ({error.strerror})") from None
            owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
            if _is_alive(owner) or time.monotonic() > deadline:
                os.close(lock)
                raise DataFolderTaken(f"another booking serve (pid {owner}) is using {self.path}")
            # The owner was killed, and its embedded server, which shares the lock, is still ending.
            time.sleep(0.05)
        if not _is_held(self.path / "lock"):
            os.close(lock)
            raise LocksMissing(NO_LOCKS.format(self.path))
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self.lock = lock

    def describe(self, service: dict[str, object]) -> None:
        """Writes service.json atomically. If the write fails (a full disk), it is retried and the service goes on."""
        self._cancel_retry()
        try:
            aside = self.path / ".service.json"
            aside.write_text(json.dumps(service, indent=2) + "\n", encoding="utf-8")
            aside.replace(self.path / "service.json")
        except OSError:
            again = asyncio.get_running_loop().call_later
            self._again = again(DESCRIBE_RETRY_SECONDS, self.describe, service)

    def _cancel_retry(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def close(self) -> None:
        """Removes service.json and unlocks the folder."""
        self._cancel_retry()
        if self.lock >= 0:
            (self.path / "service.json").unlink(missing_ok=True)
            os.close(self.lock)
            self.lock = -1


def running_service(path: Path) -> dict[str, object] | None:
    """The content of service.json, if a service runs on this folder; else None."""
    try:
        description: dict[str, object] = json.loads((path / "service.json").read_bytes())
    except (OSError, ValueError):
        return None
    # A killed service leaves its file behind, and another process may have its process id by now. In a container that
    # is usual, because each start assigns the same low ids. Only a running service has the lock, too.
    return description if _is_alive(str(description.get("pid"))) and _is_held(path / "lock") else None


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ValueError, OSError):
        return False
    return True
