"""What the scripts share."""

import os
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
