"""No secret appears in logs, errors, command lines, children's environments or files of other users."""

import asyncio
import base64
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import httpx
import pytest

from tests.fixtures.process_tree import descendants
from tests.fixtures.service import RunningService, running_service

DATABASE_PASSWORD = "hunter2-of-the-database"  # PostgreSQL checks none on this socket
EMAIL = "zoe.secret@example.com"
PASSWORD = "correct horse battery staple"
WRONG_PASSWORD = "wrong zebra paperclip"


@dataclass
class Run:
    """A service that received all kinds of secrets, and its answers."""

    service: RunningService
    secrets: list[bytes]
    answers: list[httpx.Response]


def use(service: RunningService) -> Run:
    """Registers, logs in with right and wrong passwords, and sends valid and invalid tokens."""
    with httpx.Client(base_url=service.base_url, timeout=30, trust_env=False) as http:
        credentials = {"email": EMAIL, "password": PASSWORD}
        registered = http.post("/auth/register", json=credentials)
        assert registered.status_code == 201
        token = registered.json()["data"]["token"]
        basic = base64.b64encode(f"{EMAIL}:{PASSWORD}".encode()).decode()
        wrong = base64.b64encode(f"{EMAIL}:{WRONG_PASSWORD}".encode()).decode()
        boss = service.token("boss", "organizer")
        answers = [
            http.post("/auth/register", json=credentials),
            http.post("/auth/login", json={**credentials, "password": WRONG_PASSWORD}),
            http.post("/auth/login", json={"email": EMAIL, "password": PASSWORD, "surplus": 1}),
            http.post("/auth/login", content=f'{{"email": "{EMAIL}", "password": "{PASSWORD}"'.encode()),
            http.get("/bookings", headers={"Authorization": f"Bearer {token}x"}),
            http.get("/bookings", headers={"Authorization": f"Bearer {service.token('old', expires_in=-5)}"}),
            http.get("/bookings", headers={"Authorization": f"Basic {basic}"}),
            http.get("/bookings", headers={"Authorization": f"Basic {wrong}"}),
            http.get("/bookings", headers={"Authorization": f"Basic {basic}!"}),
            http.post("/initialize", json={"name": "E", "available_tickets": 1}, headers=bearer(boss)),
            http.post("/book", json={"event_id": 1}, headers=bearer(token)),
            http.get(f"/nowhere/{EMAIL}?password={PASSWORD}"),
        ]
        secrets = [
            service.secret,
            DATABASE_PASSWORD,
            PASSWORD,
            WRONG_PASSWORD,
            "spoilt-hash",
            basic,
            wrong,
            boss,
            token,
            EMAIL,
        ]
        return Run(service, [secret.encode() for secret in secrets], answers)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def service(tmp_path: Path, postgres_url: str) -> Iterator[RunningService]:
    url = postgres_url.replace("postgres@", f"postgres:{DATABASE_PASSWORD}@")
    with running_service(tmp_path / "data", {"BOOKING_DATABASE_URL": url, "BOOKING_WORKERS": "2"}) as running:
        yield running


async def spoil_passwords(database_url: str) -> None:
    """Causes an unexpected error: the stored password hash is invalid."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE users SET password_hash = 'spoilt-hash'")
    await connection.close()


def test_no_log_answer_process_or_file_has_a_secret(service: RunningService, postgres_url: str) -> None:
    run = use(service)
    asyncio.run(spoil_passwords(postgres_url))
    login = {"email": EMAIL, "password": PASSWORD}
    failed = httpx.post(f"{service.base_url}/auth/login", json=login, timeout=30, trust_env=False)
    assert failed.status_code == 500, failed.text
    assert service.process is not None
    tree = {service.process.pid, *descendants(service.process.pid)}
    assert len(tree) >= 5

    shown = {f"answer {answer.url.path}": answer.content for answer in [*run.answers, failed]}
    for pid in tree:
        with suppress(FileNotFoundError, ProcessLookupError):  # one may have been replaced since
            shown[f"command line of {pid}"] = Path(f"/proc/{pid}/cmdline").read_bytes()
            if pid != service.process.pid:
                shown[f"environment of {pid}"] = Path(f"/proc/{pid}/environ").read_bytes()
    service.logs('"status":500')  # the last request
    service.logs("a request failed")
    shown |= {"log": service.output.encode()}
    shown |= {
        str(path): path.read_bytes()
        for path in service.data_dir.rglob("*")
        if path.is_file() and path.name != "jwt-secret" and "appendonly" not in path.name
    }
    found = [(secret, where) for where, text in shown.items() for secret in run.secrets if secret in text]
    assert found == []


def test_files_with_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", {"BOOKING_JWT_SECRET": ""}) as service:
        for path in (service.data_dir, service.data_dir / "jwt-secret", service.data_dir / "redis.sock"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
            assert path.stat().st_uid == os.geteuid()
        secret = (service.data_dir / "jwt-secret").read_bytes().strip()
        assert len(secret) >= 32
        assert secret not in service.output.encode()
