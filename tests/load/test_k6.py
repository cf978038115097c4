"""The k6 script buys tickets: under node with a stub for k6's modules, and with k6 itself if it is installed."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.service import RunningService
from tests.load.events import read_event

SCRIPT = Path(__file__).parents[2] / "scripts/load/k6.js"
STUB = Path(__file__).with_name("k6_stub.js")
MODULES = (".", "./crypto", "./encoding", "./execution", "./http", "./metrics")
SECONDS_MAX = 60

node = pytest.mark.skipif(not shutil.which("node") or not shutil.which("curl"), reason="needs node and curl")


def environment(service: RunningService, **settings: object) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BOOKING_")}
    summary_of = {"BASE_URL": service.url, "BOOKING_JWT_SECRET": service.secret}
    return clean | summary_of | {name: str(value) for name, value in settings.items()}


def run(folder: Path, iterations: int, variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Runs the script in `folder`, in which `import 'k6/…'` finds the stub."""
    modules = folder / "node_modules/k6"
    modules.mkdir(parents=True)
    shutil.copy(STUB, modules / "stub.js")
    exports = dict.fromkeys(MODULES, "./stub.js")
    (modules / "package.json").write_text(json.dumps({"name": "k6", "type": "module", "exports": exports}))
    shutil.copy(SCRIPT, folder / "script.mjs")
    (folder / "drive.mjs").write_text("import { drive } from 'k6'; await drive(process.argv[2], process.argv[3]);")
    return subprocess.run(
        ["node", "drive.mjs", str(folder / "script.mjs"), str(iterations)],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def summary_of(ran: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert ran.returncode == 0, ran.stderr
    document: dict[str, Any] = json.loads(ran.stdout)
    return document


def counted(document: dict[str, Any]) -> dict[str, int]:
    return {name: metric["sum"] for name, metric in document["metrics"].items() if metric["sum"] and "_ms" not in name}


@node
def test_every_iteration_is_a_new_buyer_who_reads_books_and_cancels(service: RunningService, tmp_path: Path) -> None:
    document = summary_of(run(tmp_path, 5, environment(service, TICKETS=3, CANCEL=1, STATUS=1)))
    assert counted(document) == {"status_200": 5, "book_201": 5, "cancel_200": 5}
    assert document["metrics"]["failures"] == {"sum": 0, "samples": 15}
    assert document["metrics"]["book_ms"]["samples"] == 5
    event = read_event(service, document["sale"]["eventId"])
    assert (event["capacity"], event["tickets_sold"], event["seq"]) == (3, 0, 11)


@node
def test_an_unexpected_answer_fails_the_run(service: RunningService, tmp_path: Path) -> None:
    ran = run(tmp_path, 2, environment(service, EVENT_ID=999_999, STATUS=1))
    document = summary_of(ran)
    assert counted(document) == {"failures": 4}
    assert document["options"]["thresholds"] == {"failures": ["count==0"]}
    assert document["checks"]["book: an answer of the sale"] == {"passes": 0, "fails": 2}
    assert "book: 404 event_not_found" in ran.stderr


@pytest.mark.skipif(not shutil.which("k6"), reason="k6 is not installed")
def test_k6_runs_the_script(service: RunningService, tmp_path: Path) -> None:
    command = ["k6", "run", "--quiet", "--no-usage-report", "-u", "4", "-d", "3s", str(SCRIPT)]
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment(service), capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "book_201" in ran.stdout
