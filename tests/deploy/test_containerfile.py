"""The image's file: its linter, its steps, and the service as it runs it: user, read-only root, process 1.

No container engine is needed. The steps run in namespaces of their own, on a copy-on-write view of this machine's root.
What this machine has installed stands for what the file downloads.
"""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from booking.processes.listening_sockets import bind
from tests.fixtures.waiting import eventually

CHECKOUT = Path(__file__).parents[2]
CONTAINERFILE = CHECKOUT / "scripts" / "deploy" / "Containerfile"
START_SECONDS = 90.0
DOWNLOADS = (
    "apt-get ",
    "rm -rf /var/lib/apt",
    "python -m venv",
    "/opt/booking/bin/python -m pip install --no-cache-dir --no-deps --require-hashes",
)
"""The beginnings of commands that this machine has done already: what they bring is here."""


@dataclass(frozen=True)
class Step:
    """One instruction."""

    name: str
    argument: str


def steps() -> list[Step]:
    lines = [line for line in CONTAINERFILE.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [Step(*line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def arguments(name: str) -> list[str]:
    return [step.argument for step in steps() if step.name == name]


def variables() -> dict[str, str]:
    return dict(pair.split("=", 1) for text in arguments("ENV") for pair in text.split())


def test_the_linter_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint is not installed")
    run = subprocess.run([linter, CONTAINERFILE], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_bases_are_pinned_and_the_user_has_a_number() -> None:
    assert len(arguments("FROM")) == 2
    for base in arguments("FROM"):
        assert re.match(r"\S+/python:3\.11\.\d+-slim-\w+( AS build)?$", base)
    (user,) = arguments("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "Kubernetes cannot tell that a name is not root"


def test_its_volume_is_the_data_folder_and_the_only_place_for_files() -> None:
    (volume,) = arguments("VOLUME")
    assert variables()["BOOKING_DATA_DIR"] == variables()["TMPDIR"] == volume


def test_only_what_it_copies_is_sent_to_the_builder() -> None:
    copied = {source.rstrip("/") for text in arguments("COPY") if "--from" not in text for source in text.split()[:-1]}
    ignored = (CONTAINERFILE.parent / "Containerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((CHECKOUT / source).exists() for source in copied)


def script(port: int) -> str:
    """What stands for a build and a start of the image: a shell script for the root of new namespaces."""
    site = f"lib/python{sysconfig.get_python_version()}/site-packages"
    python = Path(sys.base_prefix)
    parents = " ".join(f"root{folder}" for folder in python.parents)
    overlay = "mount -t overlay overlay -o lowerdir={},upperdir={},workdir={} {}".format
    commands = [
        "mount -t tmpfs -o mode=0755 tmpfs /mnt",
        "cd /mnt && mkdir upper work root lib-upper lib-work",
        overlay("/", "upper", "work", "root"),
        "for folder in proc sys dev; do mount --rbind /$folder root/$folder; done",
        f"mkdir -p root/opt/libraries root/opt/checkout root{python}",
        f"mount --bind {python} root{python}",
        f"chmod a+rx {parents}",  # of the view; those of this machine stay as they are
        f"mount --bind {sysconfig.get_path('purelib')} root/opt/libraries",
        f"mount --bind {CHECKOUT} root/opt/checkout",
        f"chroot root {python}/bin/python{sysconfig.get_python_version()} -m venv --without-pip /opt/booking",
        overlay("root/opt/libraries", "lib-upper", "lib-work", f"root/opt/booking/{site}"),
    ]
    folder = "/"
    for step in steps():
        if step.name == "WORKDIR":
            folder = step.argument
            commands.append(f"mkdir -p root{folder}")
        elif step.name == "COPY" and "--from" not in step.argument:
            *sources, target = step.argument.split()
            for source in sources:
                whole = f"{target}/" if target.endswith("/") else target
                commands += [f"mkdir -p root{folder}/{Path(target).parent if whole == target else target}"]
                commands += [f"cp -r root/opt/checkout/{source} root{folder}/{whole}"]
        elif step.name == "RUN":
            own = [part.strip() for part in step.argument.split("&&")]
            own = [part for part in own if not part.startswith(DOWNLOADS)]
            commands += [f"chroot root sh -ec 'cd {folder} && {part}'" for part in own]
    (user,), (volume,) = arguments("USER"), arguments("VOLUME")
    uid, gid = user.split(":")
    environment = variables() | {
        "PATH": "/opt/booking/bin:/usr/bin:/bin",
        "BOOKING_HOST": "127.0.0.1",  # in a container, all of its own addresses
        "BOOKING_PORT": str(port),
        "BOOKING_JWT_SECRET": secrets.token_hex(32),
    }
    entry = [*json.loads(arguments("ENTRYPOINT")[0]), *json.loads(arguments("CMD")[0])]
    become = f"setpriv --reuid {uid} --regid {gid} --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all"
    given = " ".join(f"{name}={value}" for name, value in environment.items())
    return "\n".join(
        [
            "set -e",
            *commands,
            f'test "$(stat -c %u:%g:%a root{volume})" = {user}:700',
            "umount root/opt/checkout",
            f"mount -t tmpfs -o uid={uid},gid={gid},mode=0700 tmpfs root{volume}",
            "mount -o remount,ro root",
            f"exec chroot root {become} env -i -C {folder} {given} {' '.join(entry)}",
        ]
    )


@pytest.fixture
def port() -> int:
    with bind("127.0.0.1", 0) as free:
        number: int = free.getsockname()[1]
        return number


@pytest.fixture
def process(port: int, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The running image; its process 1 is the only child of this process."""
    for program in ("unshare", "setpriv", "chroot", json.loads(arguments("ENTRYPOINT")[0])[0]):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    unshare = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0 or subprocess.run([*unshare, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False).returncode:
        pytest.skip("this user may not make namespaces")
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([*unshare, "sh", "-c", script(port)], stdout=log, stderr=log) as process,
    ):
        try:
            eventually(
                lambda: process.poll() is not None or status(port) == 200, "the image's service answers", START_SECONDS
            )
            assert process.poll() is None, (tmp_path / "log").read_text()
            yield process
        finally:
            process.kill()


def status(port: int) -> int:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code
    except httpx.TransportError:
        return 0


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def inside(first: int, command: str) -> "subprocess.CompletedProcess[str]":
    """Runs a command as the image's user, among its files and processes."""
    uid, gid = arguments("USER")[0].split(":")
    enter = ["nsenter", "--target", str(first), "--mount", "--pid", "--root"]
    become = ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "sh", "-c", command]
    return subprocess.run([*enter, *become], capture_output=True, text=True, timeout=60, check=False)


def test_the_image_runs_unprivileged_on_a_read_only_root_and_stops_in_order(
    process: "subprocess.Popen[bytes]",
) -> None:
    (first,) = children(process.pid)
    state = Path(f"/proc/{first}/status").read_text()
    assert re.search(r"^NSpid:\t\d+\t1$", state, re.MULTILINE)
    assert re.search(rf"^Uid:\t{arguments('USER')[0].split(':')[0]}\t", state, re.MULTILINE)
    for capabilities in ("CapEff", "CapPrm", "CapBnd"):
        assert re.search(rf"^{capabilities}:\t0+$", state, re.MULTILINE)

    for folder in ("/", "/tmp", "/opt/booking", "/home"):
        assert "Read-only" in inside(first, f"touch {folder}/file").stderr
    assert inside(first, f"touch {arguments('VOLUME')[0]}/file && rm {arguments('VOLUME')[0]}/file").returncode == 0

    (service,) = children(first)
    assert inside(first, "sleep 300 >/dev/null 2>&1 &").returncode == 0
    eventually(lambda: len(children(first)) == 2, "process 1 is the parent of what has lost its own")
    (orphan,) = set(children(first)) - {service}
    os.kill(orphan, signal.SIGKILL)
    eventually(lambda: children(first) == [service], "a dead child is taken away")

    os.kill(first, signal.SIGTERM)
    assert process.wait(60) == 0
