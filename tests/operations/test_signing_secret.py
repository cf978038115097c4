"""All nodes on one database have one secret for tokens; a node with another one does not start."""

import secrets
import subprocess
from pathlib import Path

import pytest

from booking.ledger.inspection import inspect
from booking.ledger.migrate import migrate
from booking.operations.signing_secret import check_signing_secret, compare_signing_secret, replace_signing_secret
from booking.settings import Settings, SettingsError
from tests.fixtures.commands import run_command
from tests.fixtures.service import running_service


def settings(folder: Path, database: Path, **more: str) -> Settings:
    return Settings.model_validate({"data_dir": folder, "database_url": f"sqlite:///{database}", **more})


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    path = tmp_path / "shared.sqlite3"
    await migrate(f"sqlite+aiosqlite:///{path}")
    return path


async def agreed(one: Settings) -> str | None:
    return (await inspect(one.database_address)).signing_secret


async def test_a_node_with_another_secret_is_refused_until_that_is_made_the_secret(
    tmp_path: Path, database: Path
) -> None:
    first, second = (settings(tmp_path / name, database, jwt_secret=secrets.token_hex(32)) for name in ("a", "b"))
    assert compare_signing_secret(first, await agreed(first)) == []
    await check_signing_secret(first)
    await check_signing_secret(first)
    with pytest.raises(SettingsError, match=r"^BOOKING_JWT_SECRET .* booking rotate-secret$"):
        await check_signing_secret(second)
    assert [one.verdict for one in compare_signing_secret(first, await agreed(first))] == ["ok"]
    (finding,) = compare_signing_secret(second, await agreed(second))
    assert (finding.verdict, "rotate-secret" in (finding.advice or "")) == ("fault", True)
    assert "is the service's secret now" in await replace_signing_secret(second)
    assert "already" in await replace_signing_secret(second)
    await check_signing_secret(second)
    with pytest.raises(SettingsError):
        await check_signing_secret(first)


async def test_a_secret_in_the_data_folder_is_named_by_its_file(tmp_path: Path, database: Path) -> None:
    await check_signing_secret(settings(tmp_path / "a", database))
    with pytest.raises(SettingsError, match=f"^{tmp_path}/b/jwt-secret is not the secret of the other nodes"):
        await check_signing_secret(settings(tmp_path / "b", database))


async def test_nodes_that_exchange_no_tokens_of_their_own_need_no_common_secret(tmp_path: Path, database: Path) -> None:
    url = "https://id.example.com/keys"
    for name in ("a", "b"):
        await check_signing_secret(settings(tmp_path / name, database, jwt_jwks_url=url))
    assert await agreed(settings(tmp_path, database)) is None


async def test_neither_the_secret_nor_a_token_follows_from_its_fingerprint(tmp_path: Path, database: Path) -> None:
    secret = secrets.token_hex(32)
    one = settings(tmp_path, database, jwt_secret=secret)
    await check_signing_secret(one)
    assert secret not in (await agreed(one) or "")
    assert len(await agreed(one) or "") == 16


def test_serve_with_another_secret_is_one_line_and_exit_2(tmp_path: Path) -> None:
    with running_service(tmp_path / "data"):
        pass
    environment = {
        "BOOKING_DATA_DIR": str(tmp_path / "data"),
        "BOOKING_PORT": "0",
        "BOOKING_WORKERS": "2",
        "BOOKING_JWT_SECRET": "another-" + secrets.token_hex(32),
    }

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return run_command(arguments, environment)

    refused = run("serve")
    starting, *told = refused.stderr.splitlines()
    assert "starting" in starting
    assert (refused.returncode, len(told)) == (2, 1), refused.stderr
    assert told[0].startswith("booking: BOOKING_JWT_SECRET is not the secret of the other nodes")
    assert run("doctor").returncode == 1
    assert run("rotate-secret").returncode == 2, "without a terminal, it has to be told --yes"
    rotated = run("rotate-secret", "--yes")
    assert (rotated.returncode, rotated.stderr) == (0, "")
    assert "shared secret      the one that the nodes" in run("doctor").stdout
