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
