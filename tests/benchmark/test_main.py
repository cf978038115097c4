"""What the command line refuses before anything is started."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--only", "lrage"], "there is no row lrage; there are throughput"),
        (["--workers", "two"], "--workers takes whole numbers"),
        (["--scale", "0"], "--scale"),
    ],
)
def test_an_option_that_makes_no_sense_is_one_clear_message_and_exit_code_2(options: list[str], why: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.benchmark", *options], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert why in ran.stderr
    assert "Traceback" not in ran.stderr
