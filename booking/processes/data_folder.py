"""The data folder of a running service: whose it is (a lock), and where the service is found (service.json)."""

import asyncio
import errno
import fcntl
import json
import os
import time
from pathlib import Path

TAKEOVER_SECONDS = 5.0
"""How long a killed service's last process may take to let go of the folder before the next start gives up."""


DESCRIBE_RETRY_SECONDS = 1.0
"""Between two attempts to write service.json where the disk has no room for it."""


class DataFolderTaken(Exception):
    """Another service runs on this data folder; the message is one line that says which."""


class DataFolder:
    """Holds the folder from `open` to `close`, for this process and for those that inherit `lock`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = -1
        """The lock's descriptor. A child that inherits it keeps the folder locked for as long as it lives."""
        self._again: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Makes the folder (mode 0700) and locks it.

        Raises DataFolderTaken when a living process has it, and OSError when it cannot be made or written.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        patience_ends = time.monotonic() + TAKEOVER_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    os.close(lock)
                    raise
            owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
            if _is_alive(owner) or time.monotonic() > patience_ends:
                os.close(lock)
                raise DataFolderTaken(f"another booking serve (pid {owner}) is using {self.path}")
            # Its owner was killed and the embedded server, which shares the lock, is on its way out.
            time.sleep(0.05)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self.lock = lock

    def describe(self, service: dict[str, object]) -> None:
        """Writes service.json, whole at any moment: now, or once the disk has room for it, which stops nothing."""
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
        """Removes service.json and lets go of the folder."""
        self._cancel_retry()
        if self.lock >= 0:
            (self.path / "service.json").unlink(missing_ok=True)
            os.close(self.lock)
            self.lock = -1


def running_service(path: Path) -> dict[str, object] | None:
    """What service.json in this folder says of the service that runs on it; None where none does."""
    try:
        description: dict[str, object] = json.loads((path / "service.json").read_bytes())
    except (OSError, ValueError):
        return None
    # A service that was killed has left its file behind, and its process id may be another's by now: in a container,
    # where the first few are given anew at each start, it mostly is. Whoever serves has the lock.
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
