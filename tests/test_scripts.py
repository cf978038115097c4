"""What the scripts share."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


@pytest.mark.parametrize("searched", [".", "elsewhere"])
def test_a_script_finds_its_checkout_whatever_cd_searches(tmp_path: Path, searched: str) -> None:
    (tmp_path / "scripts").mkdir()
    found = subprocess.run(
        ["bash", "-c", 'source scripts/environment && printf %s "$checkout"'],
        cwd=CHECKOUT,
        env={**os.environ, "CDPATH": searched if searched == "." else str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert found.stdout == str(CHECKOUT)


@pytest.mark.parametrize("inherited", ["", "unset PWD && "])
def test_a_script_that_is_started_in_a_folder_that_is_gone_says_so(tmp_path: Path, inherited: str) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    go = f'cd "{gone}" && rmdir "{gone}" && {inherited}exec bash "{CHECKOUT}/scripts/booking" --version'
    ended = subprocess.run(["bash", "-c", go], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.endswith("the folder that this was started in is not there any more; start it in another\n")


def test_an_environment_is_made_in_its_place_whatever_pip_is_told(tmp_path: Path) -> None:
    """A stand-in for Python records what it is asked for, and where pip would install."""
    told = tmp_path / "told"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$*|$PIP_TARGET$PIP_PREFIX$PIP_USER$PYTHONPATH" >> {told}\nmkdir -p .venv\n')
    python.chmod(0o700)
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    for name in ("scripts/environment", "scripts/runtime.lock", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, checkout / name)
    elsewhere = dict.fromkeys(("PIP_TARGET", "PIP_PREFIX", "PYTHONPATH"), str(tmp_path / "elsewhere"))
    subprocess.run(
        ["bash", "-c", "source scripts/environment && make_environment runtime"],
        cwd=checkout, env={**os.environ, **elsewhere, "PIP_USER": "yes", "BOOKING_PYTHON": str(python)},
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    installs = [line for line in told.read_text().splitlines() if " install " in line]
    assert len(installs) == 2
    assert all(" --no-user " in line and line.endswith("|") for line in installs)
