"""The README's console lines, run as they stand there, give the README's answers."""

import os
import re
import subprocess
from pathlib import Path

from tests.fixtures.service import running_service

CHECKOUT = Path(__file__).parents[1]
CONSOLE_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
REQUEST_ID = re.compile(r'"request_id":"[^"]*"')
SECRET = "a secret that the service and the commands of the README share"
MARK = "~~~~ the end of a command ~~~~"


def comparable(text: str) -> str:
    """Without what differs from run to run: times and request ids."""
    return REQUEST_ID.sub('"request_id":"…"', TIME.sub("(a time)", text)).strip()


def readme_commands() -> list[tuple[str, str]]:
    """Each command with the output that the README shows below it."""
    lines = "".join(CONSOLE_BLOCK.findall((CHECKOUT / "README.md").read_text(encoding="utf-8")))
    parts = re.split(r"^\$ ", lines, flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def test_the_readmes_commands_give_the_readmes_answers(tmp_path: Path) -> None:
    commands = readme_commands()
    assert sum(command.startswith("curl") for command, _ in commands) >= 6
    with running_service(tmp_path / "data", {"BOOKING_JWT_SECRET": SECRET}) as service:
        address = service.base_url.removeprefix("http://")
        script = f"\necho; echo '{MARK}'\n".join(
            command.replace("localhost:8000", address).replace("scripts/booking", "booking") for command, _ in commands
        )
        ran = subprocess.run(
            ["bash", "-e"],
            input=script,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "BOOKING_JWT_SECRET": SECRET},
        )
    assert ran.returncode == 0, ran.stderr
    answers = [comparable(output) for output in ran.stdout.split(MARK)]
    assert answers == [comparable(output) for _, output in commands]
