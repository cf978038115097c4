"""The commands other than `serve`, as a user runs them."""

import asyncio
import base64
import contextlib
import fcntl
import json
import os
import pty
import secrets
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import jwt
import pytest
from typer.testing import CliRunner

from booking.auth.emails import email_key
from booking.auth.passwords import Passwords
from booking.cli.invocation import EXIT_BROKEN_PIPE, EXIT_STOPPED
from booking.cli.main import app, main
from booking.domain.accounts import Account
from booking.ledger import Ledger, migrate
from booking.settings import Settings
from tests.fixtures.commands import run_command
from tests.fixtures.forks import ForkedProgram
from tests.fixtures.terminals import shown_to_the_end
from tests.fixtures.waiting import eventually

SECRET = "an-hour-before-the-doors-open-and-the-queue-is-long"


def booking(
    data_dir: Path, *arguments: str, given: bytes = b"", **environment: Any
) -> "subprocess.CompletedProcess[bytes]":
    settings = {"BOOKING_DATA_DIR": str(data_dir), **environment}
    ended = run_command(arguments, settings, given.decode(errors="surrogateescape"))
    out, err = (text.encode(errors="surrogateescape") for text in (ended.stdout, ended.stderr))
    return subprocess.CompletedProcess(ended.args, ended.returncode, out, err)


def in_a_python(data_dir: Path, *arguments: str, **environment: Any) -> "subprocess.CompletedProcess[bytes]":
    """A Python of its own, as a user starts it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BOOKING_")}
    return subprocess.run(
        [sys.executable, *arguments],
        env=clean | {"BOOKING_DATA_DIR": str(data_dir)} | environment,
        capture_output=True,
        timeout=60,
        check=False,
    )


def find_account(data_dir: Path, email: str) -> Account | None:
    async def find() -> Account | None:
        ledger = Ledger.open(Settings(data_dir=data_dir).database_address)
        try:
            return await ledger.find_account(email_key(email))
        finally:
            await ledger.close()

    return asyncio.run(find())


def opens(account: Account | None, password: str) -> bool:
    async def verify() -> bool:
        passwords = Passwords(threads=1)
        try:
            return account is not None and await passwords.verify(account.password_hash, password)
        finally:
            passwords.close()

    return asyncio.run(verify())


def test_only_the_token_is_printed_with_its_subject_and_expiry(tmp_path: Path) -> None:
    made = booking(
        tmp_path, "token", "--user", "17", "--role", "organizer", "--expires-in", "60", BOOKING_JWT_SECRET=SECRET
    )
    assert made.stderr == b""
    token = made.stdout.decode().removesuffix("\n")
    header = token.split(".")[0]
    assert base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)) == b'{"alg":"HS256","typ":"JWT"}'
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["role"]) == ("17", "organizer")
    assert claims["exp"] - claims["iat"] == 60
    assert abs(claims["iat"] - time.time()) < 60


def test_a_user_s_token_has_no_role_and_the_issuer_and_audience_that_are_set(tmp_path: Path) -> None:
    made = booking(
        tmp_path, "token", "--user", "a b", BOOKING_JWT_SECRET=SECRET, BOOKING_JWT_ISSUER="i", BOOKING_JWT_AUDIENCE="a"
    )
    claims = jwt.decode(made.stdout.strip(), SECRET, algorithms=["HS256"], issuer="i", audience="a")
    assert claims["sub"] == "a b"
    assert "role" not in claims


def test_a_token_is_signed_with_the_secret_in_the_data_folder(tmp_path: Path) -> None:
    """The folder is named if no service runs on it, because no other service would accept the token."""
    for which in ("a new secret", "the secret"):
        made = booking(tmp_path, "token", "--user", "17")
        secret = (tmp_path / "jwt-secret").read_bytes()
        assert jwt.decode(made.stdout.strip(), secret, algorithms=["HS256"])["sub"] == "17"
        told = (
            f"booking: signed with {which} in {tmp_path}; no service runs on that folder, and no other service accepts"
            " the token"
        )
        assert made.stderr.decode() == f"{told}\n"


def test_a_token_for_a_running_service_is_made_without_a_message(tmp_path: Path) -> None:
    (tmp_path / "service.json").write_text(json.dumps({"pid": os.getpid()}))
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert booking(tmp_path, "token", "--user", "17").stderr == b""


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("token", "--user", ""), {}, "booking: the subject is empty\n"),
        (("token", "--user", "1"), {"BOOKING_JWT_SECRET": "short"}, "booking: BOOKING_JWT_SECRET: needs at least 32"),
        (
            ("migrate",),
            {"BOOKING_DATABASE_URL": "mysql://db"},
            "booking: BOOKING_DATABASE_URL: has to be a URL that begins with",
        ),
        (("persist",), {"BOOKING_SHARDS": "0"}, "booking: BOOKING_SHARDS: "),
        (("user", "add", "nobody"), {}, "booking: An email address must have an @-sign.\n"),
    ],
)
def test_a_wrong_argument_or_setting_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, Any], said: str
) -> None:
    ended = booking(tmp_path, *arguments, **environment)
    assert ended.returncode == 2
    assert ended.stderr.decode().startswith(said)
    assert ended.stderr.count(b"\n") == 1
    assert ended.stdout == b""


@pytest.mark.parametrize(
    ("command", "option"), [("audit", "max_connections=many"), ("restore", "shop=open"), ("persist", "shop=open")]
)
def test_a_redis_url_that_its_client_cannot_read_is_a_wrong_setting(tmp_path: Path, command: str, option: str) -> None:
    asyncio.run(migrate(Settings(data_dir=tmp_path).database_address))
    address = f"redis://:s3cret-word@127.0.0.1:1?{option}"
    ended = booking(tmp_path, command, BOOKING_REDIS_URL=address)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr.startswith(b"booking: BOOKING_REDIS_URL: ")
    assert ended.stderr.count(b"\n") == 1
    assert b"s3cret-word" not in ended.stderr


@pytest.mark.parametrize("command", ["audit", "restore", "persist", "doctor"])
def test_an_in_memory_database_is_a_wrong_setting(tmp_path: Path, command: str) -> None:
    ended = booking(tmp_path, command, BOOKING_DATABASE_URL="sqlite:///:memory:")
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr.startswith(b"booking: BOOKING_DATABASE_URL: ")
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize("command", [("migrate",), ("user", "add", "ann@example.com")])
def test_an_unreachable_database_is_one_line_and_exit_code_1(tmp_path: Path, command: tuple[str, ...]) -> None:
    address = "postgresql://shop:s3cret-word@127.0.0.1:1/shop"
    ended = booking(tmp_path, *command, given=b"long enough\n", BOOKING_DATABASE_URL=address)
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"booking: database: ")
    assert ended.stderr.count(b"\n") == 1
    assert b"s3cret-word" not in ended.stderr


def run(database_url: str, statement: str) -> None:
    """Runs a statement in a PostgreSQL database, beside the service."""

    async def run_it() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run_it())


ADD = ("user", "add", "ann@example.com", "--create-database")


@pytest.mark.parametrize("command", [("migrate",), ADD, ("serve", "--port", "0")])
def test_another_services_database_is_one_line_and_exit_code_1(
    tmp_path: Path, postgres_url: str, command: tuple[str, ...]
) -> None:
    run(postgres_url, "CREATE TABLE users (name text)")
    ended = booking(tmp_path, *command, given=b"long enough\n", BOOKING_DATABASE_URL=postgres_url)
    assert ended.returncode == 1
    assert b"booking: database: the database refused a statement (SQLSTATE 42P07)\n" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_a_folder_that_a_url_names_is_not_made_and_the_data_folder_is(tmp_path: Path) -> None:
    path = tmp_path / "mistyped" / "shop.sqlite3"
    ended = booking(tmp_path, "migrate", BOOKING_DATABASE_URL=f"sqlite:///{path}")
    told = f"booking: database: {path} cannot be created: there is no folder {path.parent}\n"
    assert (ended.returncode, ended.stderr.decode()) == (1, told)
    assert not path.parent.exists()
    assert booking(tmp_path / "some" / "data", "migrate").returncode == 0
    assert (tmp_path / "some" / "data").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("command", [("migrate",), ("user", "add", "ann@example.com", "--create-database")])
def test_a_data_folder_that_cannot_be_created_is_named_with_the_reason(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    ended = booking(tmp_path / "file" / "data", *command, given=b"long enough\n")
    told = f"booking: BOOKING_DATA_DIR: {tmp_path}/file/data: Not a directory\n"
    assert (ended.returncode, ended.stderr.decode()) == (2, told)


def test_a_persister_before_the_first_migration_waits_and_says_why(tmp_path: Path) -> None:
    folder, log = tmp_path / "data", tmp_path / "log"
    folder.mkdir()
    log.touch()
    environment = {**os.environ, "BOOKING_DATA_DIR": str(folder), "BOOKING_REDIS_URL": "redis://127.0.0.1:1"}
    process = ForkedProgram(main, ["persist"], environment, output=log)
    eventually(lambda: log.read_text().count("\n") > 0, "it says why it waits")
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    told = log.read_text().splitlines()[0]
    assert "the persister waits" in told
    assert f"there is no {folder}/booking.sqlite3 yet; run booking migrate" in told
    assert list(folder.iterdir()) == []


def test_migrate_may_be_run_again(tmp_path: Path) -> None:
    for _ in range(2):
        ended = booking(tmp_path, "migrate")
        assert (ended.returncode, ended.stdout) == (
            0,
            f"The database {tmp_path}/booking.sqlite3 is up to date.\n".encode(),
        )


def test_an_account_is_added_and_the_next_time_changed(tmp_path: Path) -> None:
    added = booking(tmp_path, "user", "add", "Ann@example.com", "--create-database", given=b"first password\r\n")
    assert (
        added.stdout
        == f"Ann@example.com is added to {tmp_path}/booking.sqlite3 (user account:1), as a user.\n".encode()
    )
    account = find_account(tmp_path, "ann@example.com")
    assert account is not None
    assert not account.organizer
    assert opens(account, "first password")

    changed = booking(tmp_path, "user", "add", "ann@EXAMPLE.com", "--organizer", given=b"second password")
    assert changed.stdout.endswith(
        b"already (user account:1): its password is changed, its tokens are ended, and it is an organizer.\n"
    )
    account = find_account(tmp_path, "ann@example.com")
    assert account is not None
    assert account.organizer
    assert opens(account, "second password")

    again = booking(tmp_path, "user", "add", "ann@example.com", given=b"third password\n")
    assert again.stdout.endswith(b"and it is an organizer.\n")


def test_an_account_is_not_added_if_the_service_has_no_database_there(tmp_path: Path) -> None:
    ended = booking(tmp_path, "user", "add", "ann@example.com", given=b"first password\n")
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr.startswith(f"booking: {tmp_path}/booking.sqlite3 is not the service's database; ".encode())
    assert ended.stderr.count(b"\n") == 1
    assert b"--create-database" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_account_is_not_added_to_another_services_database(tmp_path: Path, postgres_url: str) -> None:
    run(postgres_url, "CREATE TABLE users (name text)")
    ended = booking(
        tmp_path, "user", "add", "ann@example.com", given=b"first password\n", BOOKING_DATABASE_URL=postgres_url
    )
    assert (ended.returncode, ended.stdout, ended.stderr.count(b"\n")) == (2, b"", 1)
    assert b" is not the service's database; " in ended.stderr


def test_a_database_that_lacks_characters_is_refused_in_one_line(tmp_path: Path, postgres_url: str) -> None:
    name = f"latin_{secrets.token_hex(4)}"
    run(postgres_url, f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    address = urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
    for command in (("migrate",), ("serve", "--port", "0")):
        ended = booking(tmp_path, *command, BOOKING_DATABASE_URL=address)
        line = ended.stderr.decode().splitlines()[-1]
        assert ended.returncode == 2
        assert line.startswith("booking: BOOKING_DATABASE_URL: the database is encoded in LATIN1, ")
        assert "createdb --encoding=UTF8" in line
    told = booking(tmp_path, "doctor", BOOKING_DATABASE_URL=address)
    assert told.returncode == 1
    assert any(
        line.startswith("fault    database           the database is encoded in LATIN1")
        for line in told.stdout.decode().splitlines()
    )
    run(postgres_url, f"DROP DATABASE {name}")


@pytest.mark.parametrize("given", [b"", b"short\n", b"x" * 257 + b"\n", b"not utf-8 \xff\n"])
def test_an_invalid_password_is_refused(tmp_path: Path, given: bytes) -> None:
    ended = booking(tmp_path, "user", "add", "ann@example.com", "--create-database", given=given)
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"booking: the password has to ")
    assert not (tmp_path / "booking.sqlite3").exists()


@pytest.mark.parametrize(("second", "code"), [("open sesame", 0), ("open barley", 2)])
def test_a_terminal_prompts_twice_and_shows_no_password(tmp_path: Path, second: str, code: int) -> None:
    keyboard, terminal = pty.openpty()
    environment = {**os.environ, "BOOKING_DATA_DIR": str(tmp_path)}
    place = Path(os.ttyname(terminal))
    process = ForkedProgram(main, [*ADD], environment, standard_input=place, output=place)
    shown = b""
    for prompt, answer in ((b"Password (8 to 256 characters): ", "open sesame"), (b"The same again: ", second)):
        while prompt not in shown:
            shown += os.read(keyboard, 1024)
        os.write(keyboard, answer.encode() + b"\n")
    assert process.wait(60) == code
    os.close(terminal)
    shown += shown_to_the_end(keyboard)
    assert b"sesame" not in shown
    assert b"barley" not in shown
    assert (b"is added" in shown) == (code == 0)
    assert (b"the two passwords differ" in shown) == (code == 2)


COMMANDS = (
    "serve", "migrate", "persist", "notify", "doctor", "audit", "restore", "rotate-secret",
    "token", "openapi", "user", "loadtest",
)  # fmt: skip


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_names_every_command_and_every_exit_code(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = booking(tmp_path, *arguments, COLUMNS="100")
    shown = (ended.stdout + ended.stderr).decode()
    for command in COMMANDS:
        assert f" {command} " in shown
    for code in (0, 1, 2, 3, EXIT_STOPPED, EXIT_BROKEN_PIPE):
        assert f"\n {code} " in shown
    assert "\x1b" not in shown, "colours without a terminal"


USER_COMMANDS = ("user list", "user add", "user set-password", "user promote", "user demote", "user remove")


@pytest.mark.parametrize("command", [(*name.split(),) for name in (*COMMANDS, *USER_COMMANDS) if name != "user"])
def test_each_commands_help_shows_how_it_is_called(command: tuple[str, ...]) -> None:
    ended = CliRunner().invoke(app, [*command, "--help"], prog_name="booking", env={"COLUMNS": "120"})
    assert ended.exit_code == 0
    _, usage, example = ended.stdout.partition(f"booking {' '.join(command)}")
    assert usage
    assert f"booking {' '.join(command)}" in example


def test_the_version_is_printed(tmp_path: Path) -> None:
    ended = in_a_python(tmp_path, "-m", "booking", "--version")
    assert (ended.returncode, ended.stdout.decode()) == (0, f"booking {version('booking')}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--bogus",), "No such option: --bogus"),
        (("laodtest",), "Did you mean 'loadtest'?"),
        (("token", "--usr", "17"), "--user"),
        (("token",), "Missing option '--user'"),
        (("serve", "--port", "http"), "--port"),
    ],
)
def test_a_wrong_option_is_reported_with_exit_code_2_and_no_traceback(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    ended = booking(tmp_path, *arguments)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert said in ended.stderr.decode()
    assert b"Traceback" not in ended.stderr


@pytest.fixture(scope="module")
def bash_function(tmp_path_factory: pytest.TempPathFactory) -> str:
    return booking(tmp_path_factory.mktemp("bash"), _BOOKING_COMPLETE="source_bash").stdout.decode()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("", set(COMMANDS)),
        ("lo", {"loadtest"}),
        ("loadtest --ti", {"--tickets", "--timeout"}),
        ("token --user 1 --role o", {"organizer"}),
    ],
)
def test_bash_completes_commands_and_options(
    tmp_path: Path, bash_function: str, typed: str, completed: set[str]
) -> None:
    """As bash asks: by the function that `booking --install-completion` gives it, and with the words typed so far."""
    program = tmp_path / "booking"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -m booking\n")
    program.chmod(0o755)
    words = ["booking", *typed.split(" ")]
    quoted = " ".join(f"'{word}'" for word in words)
    ask = f"COMP_WORDS=({quoted}) COMP_CWORD={len(words) - 1}; _booking_completion {program}"
    ended = subprocess.run(
        ["bash", "-c", f'{bash_function}\n{ask}\nprintf "%s\\n" "${{COMPREPLY[@]}}"'],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert set(ended.stdout.split()) == completed


def test_a_closed_output_pipe_ends_a_command_silently(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for arguments in (("token", "--user", "17"), ("doctor",), ("--help",)):
        ended = subprocess.run(
            [sys.executable, "-m", "booking", *arguments],
            env={**os.environ, "BOOKING_DATA_DIR": str(tmp_path)},
            stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
        assert (ended.returncode, ended.stderr) == (EXIT_BROKEN_PIPE, b""), arguments
    os.close(writing)


def test_ctrl_c_ends_a_command_with_a_message_and_no_traceback(tmp_path: Path) -> None:
    keyboard, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "booking", "user", "add", "ann@example.com", "--create-database"],
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        env={**os.environ, "BOOKING_DATA_DIR": str(tmp_path)},
        # A shell has its background jobs ignore Ctrl-C, and the tests may run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        os.close(terminal)
        shown = b""
        while b"characters): " not in shown:
            shown += os.read(keyboard, 1024)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == EXIT_STOPPED
    shown += shown_to_the_end(keyboard)
    assert shown.split() == b"Password (8 to 256 characters): booking: stopped".split()


@pytest.mark.parametrize("arguments", [("token", "--user", "17"), ("--help",)])
def test_a_quick_command_imports_neither_the_database_s_nor_redis_s_library(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    program = (
        "import json, sys\n"
        "import booking.cli.main\n"
        f"sys.argv = ['booking', *{arguments}]\n"
        "try:\n    booking.cli.main.main()\n"
        "except SystemExit:\n    print(json.dumps(sorted(sys.modules)))\n"
    )
    environment = {**os.environ, "BOOKING_DATA_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, timeout=60, check=True
    )
    loaded = set(json.loads(ended.stdout.splitlines()[-1]))
    assert loaded.isdisjoint({"sqlalchemy", "redis", "starlette", "uvicorn", "alembic"})
    assert "booking.auth.tokens" in loaded  # --help loads it with the load test


LOCALES: list[dict[str, Any]] = [
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


BOTH = """
import sys
from booking.cli.main import main

for sys.argv in (["booking", "--help"], ["booking", "openapi"]):
    try:
        main()
    except SystemExit as end:
        print(end.code, flush=True)
"""
"""Two commands in one Python: its locale is that of its start."""


@pytest.mark.parametrize("locale", LOCALES, ids=lambda locale: "-".join(locale.values()))
def test_no_locale_ends_a_command_with_a_traceback(tmp_path: Path, locale: dict[str, Any]) -> None:
    ended = in_a_python(tmp_path, "-c", BOTH, **locale)
    assert (ended.returncode, ended.stderr) == (0, b"")
    _, document, nothing_more = ended.stdout.decode(errors="replace").split("\n0\n")
    assert json.loads(document)["info"]["title"] == "Booking"
    assert nothing_more == ""


def test_the_openapi_document_is_printed_without_a_service_or_a_folder(tmp_path: Path) -> None:
    made = booking(tmp_path / "none", "openapi")
    assert (made.returncode, made.stderr) == (0, b"")
    document = json.loads(made.stdout)
    assert document["openapi"].startswith("3.1.")
    assert "/book" in document["paths"]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "code"), [(("loadtest", "--url", "http://127.0.0.1:1"), 2), (("restore", "--yes"), 3)]
)
def test_messages_that_are_not_read_stop_no_long_command(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4_096)
    os.set_blocking(writing, True)
    environment = {**os.environ, "BOOKING_DATA_DIR": str(tmp_path), "BOOKING_JWT_SECRET": SECRET}
    output, errors = tmp_path / "output", Path(f"/proc/{os.getpid()}/fd/{writing}")
    process = ForkedProgram(main, arguments, environment, output=output, errors=errors)
    ended = process.wait(60)
    os.close(reading)
    os.close(writing)
    assert (ended, output.read_bytes()) == (code, b"")
