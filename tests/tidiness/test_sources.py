"""Rules that every source file follows."""

import ast
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
MODULES = sorted((CHECKOUT / "booking").rglob("*.py"))
SOURCES = [*MODULES, *sorted((CHECKOUT / "tests").rglob("*.py")), *sorted((CHECKOUT / "scripts").rglob("*.py"))]
LUA = sorted((CHECKOUT / "lua").rglob("*.lua"))

TOP_LEVEL = {"booking", "lua", "scripts", "tests", "Procfile", "README.md", "pyproject.toml"}
SCRIPT_COLUMNS_MAX = 120
TEST_NAME_CHARACTERS_MAX = 80

VAGUE_NAMES = {"base", "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
BARE_IGNORE = re.compile(r"#\s*type:\s*ignore(?:\[[\w, -]*\])?\s*$")


def those(paths: Iterable[Path], wrong: Callable[[Path], bool]) -> list[str]:
    return [str(path.relative_to(CHECKOUT)) for path in paths if wrong(path)]


def test_the_sources_are_found() -> None:
    assert CHECKOUT / "booking" / "settings.py" in MODULES
    assert Path(__file__) in SOURCES
    assert LUA


def test_nothing_else_is_at_the_top_level() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    top = {path.partition("/")[0] for path in tracked.split("\0") if path}
    assert {name for name in top if not name.startswith(".")} == TOP_LEVEL


def test_a_script_fits_into_a_window() -> None:
    """As Python's lines do, of which ruff takes care."""

    def is_wide(path: Path) -> bool:
        return any(len(line) > SCRIPT_COLUMNS_MAX for line in path.read_text(encoding="utf-8").splitlines())

    assert those(LUA, is_wide) == []


def test_a_module_says_first_what_it_owns() -> None:
    def is_silent(path: Path) -> bool:
        source = path.read_text(encoding="utf-8")
        said = ast.get_docstring(ast.parse(source)) or ""
        return bool(source.strip()) and not said.split("\n\n")[0].endswith((".", ":", "?"))

    assert those(SOURCES, is_silent) == []


def test_every_exception_from_the_types_gives_its_reason() -> None:
    """The reason stands behind the exception or on the line above it."""
    unexplained = [
        f"{path.relative_to(CHECKOUT)}:{number}"
        for path in SOURCES
        for lines in [["", *path.read_text(encoding="utf-8").splitlines()]]
        for number in range(1, len(lines))
        if BARE_IGNORE.search(lines[number]) and not lines[number - 1].lstrip().startswith("#")
    ]
    assert unexplained == []


def test_a_module_is_named_for_what_it_owns() -> None:
    def is_vague(path: Path) -> bool:
        return not VAGUE_NAMES.isdisjoint(path.relative_to(CHECKOUT).with_suffix("").parts)

    assert those([*SOURCES, *LUA], is_vague) == []


def test_a_tests_name_is_one_short_promise() -> None:
    long = [
        f"{path.relative_to(CHECKOUT)}::{node.name}"
        for path in sorted((CHECKOUT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        if len(node.name) > TEST_NAME_CHARACTERS_MAX
    ]
    assert long == []


def test_every_path_that_the_readme_of_the_tests_names_is_there() -> None:
    text = (CHECKOUT / "tests" / "README.md").read_text(encoding="utf-8")
    folders = re.findall(r"`(\w+/)`", text)
    named = [CHECKOUT / "tests" / name for name in (*folders, *re.findall(r"\]\(([\w/]+\.md)\)", text))]
    named += [CHECKOUT / name for name in re.findall(r"\b((?:tests|scripts)/[\w/]+(?:\.py)?)", text)]
    assert len(named) > len(folders) > 15
    assert those(named, lambda path: not path.exists()) == []
