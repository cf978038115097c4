"""What keeps PostgreSQL from being used is told in one line that names it: TLS, passwords, rights, locks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest

from booking.domain.accounts import Role
from booking.ledger import Ledger, LedgerUnavailable, migrate
from booking.ledger import engine as engine_module
from booking.ledger.migrate import check_schema
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.tls import Authority, front, make_authority
from tests.ledger.sale import Sale

PASSWORD = "hunter2-secret"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """It has signed a certificate for `localhost`."""
    return make_authority(tmp_path, "localhost")


@asynccontextmanager
async def told(url: str, reason: str) -> AsyncIterator[None]:
    """Checks that a ledger at `url` gives this reason, and not its password."""
    ledger = Ledger.open(url)
    try:
        with pytest.raises(LedgerUnavailable, match=reason) as error:
            await ledger.ping()
        assert PASSWORD not in str(error.value)
        yield
    finally:
        await ledger.close()


def socket_of(server: PostgresServer) -> Path:
    return server.folder / ".s.PGSQL.5432"


async def test_a_certificate_is_checked_as_sslmode_and_sslrootcert_say(
    postgres_server: PostgresServer, postgres_url: str, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = make_authority(tmp_path / "other", "localhost")
    await migrate(postgres_url)
    database = postgres_url.split("/")[3].split("?")[0]
    async with front(socket_of(postgres_server), authority.server, of_postgresql=True) as port:
        at, by_address = f"localhost:{port}/{database}", f"127.0.0.1:{port}/{database}"
        trusted = f"sslrootcert={authority.certificate}"
        for url in (
            f"postgresql://postgres@{at}?sslmode=require",
            f"postgresql://postgres@{by_address}?sslmode=verify-ca&{trusted}",
            f"postgresql://postgres@{at}?sslmode=verify-full&{trusted}",
        ):
            ledger = Ledger.open(url)
            await ledger.ping()
            await ledger.close()
        full, login = "sslmode=verify-full", f"postgres:{PASSWORD}"
        async with told(f"postgresql://{login}@{by_address}?{full}&{trusted}", "certificate is for another host"):
            pass
        untrusted = f"postgresql://{login}@{at}?{full}&sslrootcert={other.certificate}"
        async with told(untrusted, "certificate is not trusted .* name its CA's file with sslrootcert"):
            pass


async def test_a_server_without_tls_is_told_from_one_that_is_away(postgres_server: PostgresServer) -> None:
    async with (
        front(socket_of(postgres_server), None) as port,
        told(f"postgresql://postgres:{PASSWORD}@localhost:{port}/postgres?sslmode=require", "the server offers no TLS"),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("sslmode=yes", "sslmode has to be one of disable, allow, prefer, require, verify-ca, verify-full"),
        ("sslmode=verify-full&sslrootcert=/nowhere/ca.crt", "sslrootcert names /nowhere/ca.crt, which is no file"),
    ],
)
def test_a_wrong_tls_option_is_refused_before_a_connection_is_made(options: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        Ledger.open(f"postgresql+asyncpg://ada:{PASSWORD}@localhost/booking?{options}")
    assert PASSWORD not in str(error.value)


@pytest.fixture
async def role(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A role that owns nothing, and has to give its password."""
    access = postgres_server.folder / "data" / "pg_hba.conf"
    before = access.read_text()
    access.write_text(f"local all guarded scram-sha-256\n{before}")
    connection = await asyncpg.connect(postgres_server.url("postgres"))
    await connection.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")
    await connection.execute("SELECT pg_reload_conf()")
    yield "guarded"
    access.write_text(before)
    await connection.execute("SELECT pg_reload_conf()")
    await connection.execute("DROP ROLE guarded")
    await connection.close()


async def test_a_role_that_may_not_create_tables_is_told_what_to_grant(postgres_url: str, role: str) -> None:
    address = postgres_url.replace("postgres@", f"{role}:{PASSWORD}@")
    with pytest.raises(LedgerUnavailable, match="the role may not do this: it needs CREATE on the schema") as error:
        await migrate(address)
    assert PASSWORD not in str(error.value)


async def test_a_role_with_rights_on_the_tables_alone_serves(postgres_url: str, role: str) -> None:
    await migrate(postgres_url)
    owner = await asyncpg.connect(postgres_url)
    await owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    await owner.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}")
    address = postgres_url.replace("postgres@", f"{role}:{PASSWORD}@")
    await check_schema(address)
    ledger = Ledger.open(address)
    try:
        await ledger.initialize_shards(["first"])
        assert await ledger.apply([Sale().all()]) == 1
        await ledger.add_account("ada@example.org", "ada@example.org", "hash")
        assert await ledger.change_account("ada@example.org", role=Role.ADMIN)
        assert await ledger.remove_account("ada@example.org")
        assert await ledger.event_ids() == [1]
    finally:
        await ledger.close()
        await owner.execute(f"DROP OWNED BY {role}")
        await owner.close()


async def test_a_wrong_password_and_a_missing_database_are_told_apart(
    postgres_server: PostgresServer, role: str
) -> None:
    url = postgres_server.url("postgres")
    async with (
        told(url.replace("postgres@", f"{role}:{PASSWORD}-not@"), "the server refused the password"),
        told(postgres_server.url("nowhere"), "there is no such database"),
    ):
        pass


async def test_a_lock_that_another_transaction_holds_is_told(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(postgres_url)
    monkeypatch.setattr(engine_module, "LOCK_WAIT_MS", 50)
    ledger = Ledger.open(postgres_url)
    other = await asyncpg.connect(postgres_url)
    try:
        async with other.transaction():
            await other.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(LedgerUnavailable, match="another transaction holds a lock"):
                await ledger.add_account("ada@example.org", "ada@example.org", "hash")
        await ledger.add_account("ada@example.org", "ada@example.org", "hash")
    finally:
        await other.close()
        await ledger.close()
