"""Clients that others' generators make from the OpenAPI document: no warning, every error's type, a ticket booked.

The Python generator needs another typer than the service, so it has an environment of its own, from a lock.
"""

import shutil
import sys
from pathlib import Path

import pytest

from booking.web.openapi.document import document_bytes
from tests.fixtures.packages import NPM_CI, PROGRAM_SECONDS_MAX, install, run
from tests.fixtures.service import RunningService

HERE = Path(__file__).parent


@pytest.mark.timeout(2 * PROGRAM_SECONDS_MAX)
def test_a_generated_python_client_books_a_ticket_and_parses_errors(tmp_path: Path, service: RunningService) -> None:
    uv, programs = Path(sys.executable).with_name("uv"), tmp_path / "environment" / "bin"
    install(tmp_path, uv, "venv", "--quiet", "--python", sys.executable, programs.parent)
    install(
        tmp_path, uv, "pip", "install", "--quiet", "--python", programs / "python", "--require-hashes",
        "-r", HERE / "openapi-python-client.lock",
    )  # fmt: skip
    (tmp_path / "openapi.json").write_bytes(document_bytes())
    generated = run(
        tmp_path, "openapi-python-client", "generate", "--path", "openapi.json", "--fail-on-warning", path=programs
    )
    said = generated.stdout + generated.stderr
    assert generated.returncode == 0, said
    assert "warning" not in said.lower()
    shutil.copy(HERE / "buyer.py", tmp_path / "booking-client")
    played = run(
        tmp_path / "booking-client", programs / "python", "buyer.py",
        service.base_url, service.token("organizer", "organizer"), service.token(f"buyer-of-{tmp_path.name}"),
    )  # fmt: skip
    assert played.stdout.splitlines() == [
        "confirmed 1", "409 already_booked True", "422 invalid_request /quantity",
    ], played.stderr  # fmt: skip


@pytest.mark.skipif(shutil.which("npm") is None, reason="node and npm are not installed")
@pytest.mark.timeout(2 * PROGRAM_SECONDS_MAX)
def test_generated_typescript_types_compile_strictly_and_know_each_error(tmp_path: Path) -> None:
    shutil.copytree(HERE / "typescript", tmp_path, dirs_exist_ok=True)
    install(tmp_path, *NPM_CI)
    (tmp_path / "openapi.json").write_bytes(document_bytes())
    programs = tmp_path / "node_modules" / ".bin"
    generated = run(tmp_path, programs / "openapi-typescript", "openapi.json", "-o", "api.ts")
    said = generated.stdout + generated.stderr
    assert generated.returncode == 0, said
    assert "warn" not in said.lower()
    compiled = run(tmp_path, programs / "tsc", "-p", ".")
    assert compiled.returncode == 0, compiled.stdout
