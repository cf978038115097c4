"""The README files: the console lines give the answers below them, links lead somewhere, the first page is short."""

import os
import re
import subprocess
from pathlib import Path

from tests.fixtures.service import running_service

CHECKOUT = Path(__file__).parents[1]
FIRST = CHECKOUT / "README.md"
READMES = sorted(
    path
    for path in CHECKOUT.rglob("README.md")
    if not any(part.startswith(".") for part in path.relative_to(CHECKOUT).parts)
)
FIRST_BYTES_MAX = 9_000

CONSOLE_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r'\]\(([^)\s]+)\)|src="([^"]+)"')
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SECRET = "a secret that the service and the commands of the README share"
MARK = "~~~~ the end of a command ~~~~"

SALE_IN_THE_BROWSER = """curl -s localhost:8000/initialize -H "Authorization: Bearer $organizer" \
--json '{"event_name": "One night only", "available_tickets": 1}' -o /dev/null"""
"""Stands for the part of the README before the console lines: they make the second sale."""


def comparable(text: str) -> str:
    """Without what differs from run to run: times."""
    return TIME.sub("(a time)", text).strip()


def readme_commands() -> list[tuple[str, str]]:
    """Each command with the output that the README shows below it."""
    lines = "".join(CONSOLE_BLOCK.findall(FIRST.read_text(encoding="utf-8")))
    parts = re.split(r"^\$ ", lines, flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = HEADING.findall(CODE_BLOCK.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_nowhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    there = page.parent / name if name else page
    return not there.exists() or (bool(anchor) and anchor not in anchors(there))


def test_the_readmes_commands_give_the_readmes_answers(tmp_path: Path) -> None:
    commands = readme_commands()
    assert sum(command.startswith("curl") for command, _ in commands) >= 5
    before = next(number for number, (command, _) in enumerate(commands) if command.startswith("curl"))
    commands.insert(before, (SALE_IN_THE_BROWSER, ""))
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


def test_the_first_readme_is_short_enough_to_be_read() -> None:
    assert len(FIRST.read_bytes()) <= FIRST_BYTES_MAX


def test_every_relative_link_in_a_readme_leads_to_something() -> None:
    links = [
        (page, link)
        for page in READMES
        for groups in LINK.findall(CODE_BLOCK.sub("", page.read_text(encoding="utf-8")))
        for link in groups
        if link and "://" not in link
    ]
    assert {page for page, _ in links} >= {FIRST, CHECKOUT / "scripts/README.md", CHECKOUT / "tests/README.md"}
    assert [f"{page.relative_to(CHECKOUT)}: {link}" for page, link in links if leads_nowhere(page, link)] == []
