"""`booking persist` by itself: what it says, and to whom."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE_SECONDS = 60


@pytest.fixture
def waiting(tmp_path: Path) -> "subprocess.Popen[str]":
    """One that waits for a Redis that is away."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BOOKING_")}
    environment |= {"BOOKING_DATA_DIR": str(tmp_path), "BOOKING_REDIS_URL": "redis://127.0.0.1:1"}
    command = [sys.executable, "-m", "booking"]
    subprocess.run([*command, "migrate"], env=environment, check=True, timeout=PATIENCE_SECONDS, capture_output=True)
    return subprocess.Popen(
        [*command, "persist"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_persister_logs_like_workers_and_runs_on_if_its_output_is_closed(
    waiting: "subprocess.Popen[str]",
) -> None:
    with waiting as process:
        try:
            assert process.stdout is not None
            line = json.loads(process.stdout.readline())
            assert (line["level"], line["event"]) == ("warning", "the persister waits")
            process.stdout.close()
            process.send_signal(signal.SIGTERM)  # which is logged, too
            assert process.wait(PATIENCE_SECONDS) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
        finally:
            process.kill()
