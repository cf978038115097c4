"""Every setting: its variable, its bounds, one clear line for each wrong value, and no secret in any text."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

from booking.settings import PLATFORM_SPELLINGS, SOCKET_PATH_BYTES_MAX, Settings, SettingsError

SECRET = "a secret that is long enough for HS256"
PEM = "-----BEGIN PUBLIC KEY-----\nnot really\n-----END PUBLIC KEY-----\n"

GOOD: dict[str, list[tuple[str, object]]] = {
    "host": [("0.0.0.0", "0.0.0.0"), ("::1", "::1"), ("::, 0.0.0.0", "::, 0.0.0.0")],
    "root_path": [("/", ""), ("/tickets", "/tickets"), ("/shop/tickets/", "/shop/tickets")],
    "port": [("0", 0), ("65535", 65_535)],
    "workers": [("1", 1), ("64", 64)],
    "node": [("node-1", "node-1"), ("x" * 253, "x" * 253)],
    "drain_seconds": [("0.5", 0.5), ("300", 300.0)],
    "persist_port": [("1", 1), ("65535", 65_535)],
    "notify_port": [("1", 1), ("65535", 65_535)],
    "webhook_allow": [("127.0.0.0/8, ::1", ("127.0.0.0/8", "::1"))],
    "data_dir": [("/srv/booking", Path("/srv/booking"))],
    "redis_url": [
        (url, url)
        for url in (
            "redis://localhost:6379/0",
            "rediss://user:word@host",
            "unix:///run/redis.sock",
            "redis+sentinel://user:word@a:26379,b,c/tickets",
            "rediss+cluster://a:7000,b:7001?ssl_ca_certs=/ca.crt",
        )
    ],
    "redis_server": [("redis-server", "redis-server")],
    "database_url": [
        (url, url)
        for url in (
            "postgresql://user:word@host:5432/db?sslmode=require",
            "postgres://host/db",
            "sqlite:////srv/b.db",
            "postgresql://a:1,b:2/db",
        )
    ],
    "database_pool": [("2", 2), ("100", 100)],
    "shards": [("1", 1), ("1024", 1024)],
    "jwt_secret": [(SECRET, SECRET), ("ü" * 16, "ü" * 16)],
    "jwt_public_key": [(PEM, PEM)],
    "jwt_jwks_url": [
        (url, url)
        for url in ("https://id.example.com/keys", "http://127.0.0.1:9/keys", "http://localhost/k", "http://[::1]/k")
    ],
    "jwt_issuer": [("https://id.example.com", "https://id.example.com")],
    "jwt_audience": [("tickets", "tickets")],
    "jwt_leeway_seconds": [("0", 0), ("300", 300)],
    "jwt_subject_prefix": [("idp:", "idp:"), ("acc", "acc"), ("x" * 64, "x" * 64)],
    "accounts": [("on", "on"), ("off", "off")],
    "smtp_url": [
        (url, url)
        for url in ("smtp://127.0.0.1:2525", "smtps://user:p%40ss@mail.example.com", "smtp+starttls://[::1]:587/")
    ],
    "mail_from": [(text, text) for text in ("a@example.com", "Tickets <a@example.com>", '"A, B" <a@localhost>')],
    "public_url": [
        ("https://tickets.example.com/", "https://tickets.example.com"),
        ("http://127.0.0.1:8000/shop", "http://127.0.0.1:8000/shop"),
    ],
    "stripe_secret": [(text, text) for text in ("whsec_" + "x" * 10, "whsec_" + "x" * 32)],
    "rate_limit": [("on", "on"), ("off", "off")],
    "rate_limit_burst": [("1", 1), ("10000", 10_000)],
    "rate_limit_per_second": [("0.5", 0.5), ("10000", 10_000.0)],
    "read_rate_limit_burst": [("1", 1), ("1000000", 1_000_000)],
    "read_rate_limit_per_second": [("0.5", 0.5), ("1000000", 1_000_000)],
    "auth_rate_limit_per_minute": [("1", 1), ("100000", 100_000)],
    "cors_origins": [
        ("https://a.example, http://b.example ,", ("https://a.example", "http://b.example")),
        ("http://localhost:5173", ("http://localhost:5173",)),
        ("http://[::1]:80,app://shop", ("http://[::1]:80", "app://shop")),
        ("*", ("*",)),
        (",", ()),
    ],
    "trusted_proxies": [
        ("10.0.0.1,10.0.0.2", ("10.0.0.1", "10.0.0.2")),
        ("10.0.0.0/8,::1,fd00::/8", ("10.0.0.0/8", "::1", "fd00::/8")),
        ("*", ("*",)),
    ],
    "log_format": [("json", "json"), ("console", "console")],
    "ack": [(level, level) for level in ("redis", "disk", "replica", "database")],
    "ack_replicas": [("1", 1), ("16", 16)],
    "redis_memory_mb": [("16", 16), ("16000000", 16_000_000)],
    "live_limit": [("1", 1), ("1000000", 1_000_000)],
    "live_limit_per_address": [("1", 1), ("1000000", 1_000_000)],
    "queue_limit": [("32", 32), ("1000000", 1_000_000)],
    "persister_lag_limit": [("1000", 1_000), ("1000000000", 1_000_000_000)],
}

BAD: dict[str, list[str]] = {
    "host": [",", "[::1]", "http://0.0.0.0"],
    "root_path": ["tickets", "/a b", "//x", "/tickets//x", "https://x/y"],
    "port": ["-1", "65536", "http", "80.5"],
    "workers": ["0", "65", "two"],
    "node": ["two words", "line\nbreak", "nöde", "x" * 254],
    "drain_seconds": ["-1", "301", "nan", "soon"],
    "persist_port": ["0", "65536", "http"],
    "notify_port": ["0", "65536", "http"],
    "webhook_allow": ["*", "localhost", "10.0.0.1/8"],
    "data_dir": ["~nobody-of-this-name/data", "/srv/\udcff"],
    "redis_url": [
        "localhost:6379",
        "redis+x://localhost",
        "unix+cluster:///run/redis.sock",
        "redis+://localhost",
        "http://localhost",
        "redis:localhost",
        "redis://localhost:port",
        "redis://h:99999",
    ],
    "database_url": ["mysql://host/db", "booking.db", "sqlite:/srv/b.db", "postgresql:db", "postgresql://host:port/db"],
    "redis_memory_mb": ["15", "64mb", "16000001"],
    "database_pool": ["1", "101"],
    "shards": ["0", "1025"],
    "jwt_secret": ["short", "x" * 31],
    "jwt_public_key": ["/nowhere/key.pem", "c2VjcmV0LWtleS1pbi10aGUtd3JvbmctcGxhY2U=", "x" * 5_000],
    "jwt_jwks_url": ["http://id.example.com/keys", "ftp://id.example.com", "https://", "keys", "http://[::1"],
    "jwt_leeway_seconds": ["-1", "301"],
    "jwt_subject_prefix": ["account:", "account:idp:", "x" * 65],
    "accounts": ["yes", "ON"],
    "stripe_secret": ["whsec_", "x" * 15],
    "smtp_url": [
        "relay.example.com",
        "http://mail.example.com",
        "smtp+ssl://mail.example.com",
        "smtp://",
        "smtp://mail.example.com:port",
        "smtp://user@mail.example.com",
        "smtp://mail.example.com/path",
        "smtp://mail.example.com?tls=no",
    ],
    "mail_from": ["tickets", "a@b@c", "Tickets <a@example.com>\nBcc: x@example.com", "a@example.com, b@example.com"],
    "public_url": [
        "shop.example.com",
        "ftp://a.example",
        "https://",
        "https://a.example/?x=1",
        "https://u@a.example",
    ],
    "rate_limit": ["yes", "OFF"],
    "rate_limit_burst": ["0", "10001"],
    "rate_limit_per_second": ["0", "-1", "10001", "nan", "inf"],
    "read_rate_limit_burst": ["0", "1000001"],
    "read_rate_limit_per_second": ["0", "-1", "1000001", "nan"],
    "auth_rate_limit_per_minute": ["0", "100001"],
    "cors_origins": [
        "tickets.shop",
        "https://shop.example/",
        "https://shop.example/sale",
        "https://Shop.example",
        "https://",
        "null",
        "https://a.example,b.example",
        "https://me@shop.example",
    ],
    "trusted_proxies": ["proxy.example", "10.0.0.300", "10.0.0.1/8", "10.0.0.0/33"],
    "log_format": ["text"],
    "ack": ["paper"],
    "ack_replicas": ["0", "17"],
    "live_limit": ["0", "1000001"],
    "live_limit_per_address": ["0", "1000001"],
    "queue_limit": ["0", "7", "31", "1000001"],
    "persister_lag_limit": ["999"],
}


COMPANIONS = {
    "smtp_url": {"BOOKING_MAIL_FROM": "a@example.com", "BOOKING_PUBLIC_URL": "https://tickets.example.com"},
}
"""Settings that another needs."""


def variable(name: str) -> str:
    return f"BOOKING_{name.upper()}"


def read(**environment: str) -> Settings:
    return Settings.read(environment)


@pytest.mark.parametrize(("name", "text", "value"), [(name, *case) for name, cases in GOOD.items() for case in cases])
def test_a_setting_is_read_from_its_variable(name: str, text: str, value: object) -> None:
    assert getattr(read(**{variable(name): text}, **COMPANIONS.get(name, {})), name) == value


def test_every_setting_has_its_cases_here() -> None:
    assert set(GOOD) == Settings.model_fields.keys() - {"telemetry"}
    bounded = set(GOOD) - {"redis_server", "jwt_issuer", "jwt_audience"}
    assert set(BAD) == bounded


def test_opentelemetrys_own_variables_come_along_under_their_own_names() -> None:
    settings = read(OTEL_SERVICE_NAME="shop", OTEL_TRACES_EXPORTER="", BOOKING_TELEMETRY="no setting", OTHER="x")
    assert settings.telemetry == {"OTEL_SERVICE_NAME": "shop"}
    assert "shop" not in repr(settings)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_a_wrong_value_is_one_line_with_the_variable_but_not_the_value(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(**{variable(name): text})
    line = str(raised.value)
    assert line.startswith(f"{variable(name)}: ")
    assert "\n" not in line
    assert len(line) < 250
    if len(text) > 8:
        assert text not in line


def outcome_of(name: str, text: str) -> object:
    """The value that is read, or the message of the refusal."""
    try:
        return getattr(read(**{variable(name): text}), name)
    except SettingsError as error:
        return str(error)


ODD_NUMBERS = ("-1", "0", "1", "1.5", "NaN", "inf", "-inf", "1e400", "0x10", "१", "9" * 30, "9" * 5_000, "text", " ")


@pytest.mark.parametrize("text", ODD_NUMBERS, ids=lambda text: text[:8])
def test_an_odd_number_is_a_usable_value_or_one_line(text: str) -> None:
    numbers = [name for name, field in Settings.model_fields.items() if field.annotation in (int, float)]
    assert len(numbers) >= 10
    for name in numbers:
        outcome = outcome_of(name, text)
        usable = isinstance(outcome, int | float) and 0 <= outcome <= 1.5
        assert usable or re.fullmatch(rf"{variable(name)}: .+", str(outcome))


def test_mail_needs_a_server_a_sender_and_an_address_for_its_links() -> None:
    assert not read(**COMPANIONS["smtp_url"]).sends_mail
    assert read(BOOKING_SMTP_URL="smtp://localhost", **COMPANIONS["smtp_url"]).sends_mail
    for missing in COMPANIONS["smtp_url"]:
        others = {name: text for name, text in COMPANIONS["smtp_url"].items() if name != missing}
        with pytest.raises(SettingsError) as raised:
            read(BOOKING_SMTP_URL="smtp://localhost", **others)
        assert str(raised.value) == f"BOOKING_SMTP_URL: needs {missing}, too"
    with pytest.raises(SettingsError, match=r"^BOOKING_SMTP_URL: needs BOOKING_MAIL_FROM and BOOKING_PUBLIC_URL, too$"):
        read(BOOKING_SMTP_URL="smtp://localhost")


def test_a_queue_has_room_for_every_shard() -> None:
    assert read(BOOKING_SHARDS="1", BOOKING_QUEUE_LIMIT="4").queue_limit == 4
    assert read(BOOKING_SHARDS="1024").queue_limit == 4_096
    with pytest.raises(SettingsError, match="BOOKING_QUEUE_LIMIT: has to be 64 or more"):
        read(BOOKING_SHARDS="16", BOOKING_QUEUE_LIMIT="63")


def test_every_wrong_value_has_its_line() -> None:
    with pytest.raises(SettingsError) as raised:
        read(BOOKING_PORT="http", BOOKING_WORKERS="0", BOOKING_JWT_SECRET="short")
    assert [line.split(":")[0] for line in str(raised.value).splitlines()] == [
        "BOOKING_PORT", "BOOKING_WORKERS", "BOOKING_JWT_SECRET",
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "platforms"), PLATFORM_SPELLINGS.items())
def test_a_platforms_spelling_counts_and_ours_outranks_it(name: str, platforms: str) -> None:
    values = {
        "port": ("1", "2"),
        "redis_url": ("redis://a", "redis://b"),
        "database_url": ("postgres://a/d", "postgres://b/d"),
    }
    first, second = values[name]
    assert str(getattr(read(**{platforms: first}), name)) == first
    assert str(getattr(read(**{platforms: first, variable(name): second}), name)) == second
    assert str(getattr(read(**{platforms: first, variable(name): ""}), name)) == first


@pytest.mark.parametrize("name", sorted(GOOD))
def test_an_empty_variable_means_the_default(name: str) -> None:
    assert getattr(read(**{variable(name): ""}), name) == getattr(read(), name)


def test_the_command_line_outranks_the_environment() -> None:
    settings = Settings.read({"BOOKING_PORT": "1", "BOOKING_WORKERS": "2"}, port=9, workers=None)
    assert (settings.port, settings.workers) == (9, 2)


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = read()
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert settings.data_dir == Path.cwd() / "data"
    assert (settings.rate_limit, settings.rate_limit_burst, settings.rate_limit_per_second) == ("on", 20, 10.0)
    assert settings.auth_rate_limit_per_minute == 60
    assert settings.embedded_redis
    assert settings.database_address == f"sqlite+aiosqlite:///{Path.cwd()}/data/booking.sqlite3"


def test_no_secret_is_in_what_settings_print(tmp_path: Path) -> None:
    settings = read(
        BOOKING_JWT_SECRET=SECRET,
        BOOKING_REDIS_URL="redis://:hush-redis@localhost",
        BOOKING_DATABASE_URL="postgresql://user:hush-database@localhost/db",
        BOOKING_SMTP_URL="smtp://user:hush-mail@localhost",
        BOOKING_STRIPE_SECRET="whsec_hush-hush-hush",
        **COMPANIONS["smtp_url"],
    )
    assert "hush" not in f"{settings!r} {settings}"
    assert SECRET not in f"{settings!r} {settings}"
    with pytest.raises(SettingsError) as raised:
        read(
            BOOKING_JWT_SECRET="hush-and-too-short",
            BOOKING_REDIS_URL="redes://:hush@localhost",
            BOOKING_DATABASE_URL="postgresql://user:hush@localhost:port/db",
            BOOKING_SMTP_URL="smtp://hush@localhost",
        )
    assert "hush" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_settings_survive_the_way_to_a_child_process() -> None:
    settings = read(BOOKING_JWT_SECRET=SECRET, BOOKING_CORS_ORIGINS="https://a.example", BOOKING_DATA_DIR="relative")
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_a_public_key_is_read_from_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text(PEM)
    assert read(BOOKING_JWT_PUBLIC_KEY=str(file)).jwt_public_key == PEM
    file.write_bytes(b"\xff\xfe not text")
    with pytest.raises(SettingsError, match="BOOKING_JWT_PUBLIC_KEY: "):
        read(BOOKING_JWT_PUBLIC_KEY=str(file))
    file.write_text("no key")
    with pytest.raises(SettingsError, match="holds no PEM text"):
        read(BOOKING_JWT_PUBLIC_KEY=str(file))


def test_the_data_folder_is_one_place_whatever_folder_a_process_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read(BOOKING_DATA_DIR="here/data").data_dir == tmp_path / "here" / "data"
    monkeypatch.setenv("HOME", "/home/somebody")
    assert read(BOOKING_DATA_DIR="~/data").data_dir == Path("/home/somebody/data")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgres://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql+psycopg://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("POSTGRESQL://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("sqlite:////srv/b.db", "sqlite+aiosqlite:////srv/b.db"),
        ("SQLite:////srv/b.db", "sqlite+aiosqlite:////srv/b.db"),
    ],
)
def test_a_database_url_gets_the_driver_that_belongs_to_it(url: str, address: str) -> None:
    assert read(BOOKING_DATABASE_URL=url).database_address == address


@pytest.mark.parametrize("folder", ["/srv/a b", "/srv/50%41", "/srv/a?mode=ro", "/srv/a#b", "/srv/grün"])
def test_the_database_lies_in_the_data_folder_whatever_that_is_called(folder: str) -> None:
    address = read(BOOKING_DATA_DIR=folder).database_address
    assert make_url(address).database == f"{folder}/booking.sqlite3"


def test_a_redis_of_ones_own_is_used_instead_of_the_embedded_one() -> None:
    settings = read(REDIS_URL="redis://localhost:1")
    assert (settings.embedded_redis, settings.redis_address) == (False, "redis://localhost:1")


def test_the_embedded_socket_lies_in_the_data_folder_or_in_a_short_private_one(tmp_path: Path) -> None:
    near = read(BOOKING_DATA_DIR="/srv/booking")
    assert near.embedded_socket == Path("/srv/booking/redis.sock")
    assert near.redis_address == "unix:///srv/booking/redis.sock"
    assert read(BOOKING_DATA_DIR="/srv/a b%").redis_address == "unix:///srv/a%20b%25/redis.sock"
    far = read(BOOKING_DATA_DIR=f"/srv/{'x' * 200}")
    assert len(os.fsencode(far.embedded_socket)) <= SOCKET_PATH_BYTES_MAX
    assert far.embedded_socket != read(BOOKING_DATA_DIR=f"/srv/{'y' * 200}").embedded_socket
    assert far.embedded_socket == read(BOOKING_DATA_DIR=f"/srv/{'x' * 200}").embedded_socket


# The signing secret


def test_the_secret_that_was_set_is_the_one_that_signs(tmp_path: Path) -> None:
    settings = read(BOOKING_JWT_SECRET=SECRET, BOOKING_DATA_DIR=str(tmp_path / "data"))
    assert settings.signing_secret() == SECRET.encode()
    assert not (tmp_path / "data").exists()


def test_a_secret_is_made_once_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    settings = read(BOOKING_DATA_DIR=str(tmp_path / "deep" / "data"))
    first = settings.signing_secret()
    assert len(first) >= 48
    assert settings.signing_secret() == first
    (file,) = settings.data_dir.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700
    assert read(BOOKING_DATA_DIR=str(tmp_path / "other")).signing_secret() != first


def test_many_processes_at_once_make_one_secret(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    program = (
        "import sys; from booking.settings import Settings; s = Settings(data_dir=sys.argv[1]); "
        "sys.stdin.read(); sys.stdout.buffer.write(s.signing_secret())"
    )
    makers = [
        subprocess.Popen([sys.executable, "-c", program, data_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    for maker in makers:  # all are ready by the time that they are let go
        assert maker.stdin is not None
        maker.stdin.close()
        maker.stdin = None
    secrets = {maker.communicate(timeout=60)[0] for maker in makers}
    assert [maker.returncode for maker in makers] == [0] * len(makers)
    assert len(secrets) == 1
    assert [path.name for path in data_dir.iterdir()] == ["jwt-secret"]


def test_the_loser_of_a_race_takes_the_winners_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(BOOKING_DATA_DIR=str(tmp_path))
    winner = settings.signing_secret()
    seen = iter([False])
    real = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: next(seen, None) if path.name == "jwt-secret" else real(path))
    assert settings.signing_secret() == winner
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["jwt-secret"]


def test_a_stored_secret_that_is_too_short_is_reported_and_not_used(tmp_path: Path) -> None:
    (tmp_path / "jwt-secret").write_text("short\n")
    with pytest.raises(SettingsError, match="fewer than 32 bytes"):
        read(BOOKING_DATA_DIR=str(tmp_path)).signing_secret()


@pytest.mark.parametrize(
    ("environment", "has_accounts"),
    [
        ({}, True),
        ({"BOOKING_JWT_PUBLIC_KEY": PEM}, False),
        ({"BOOKING_JWT_JWKS_URL": "https://id.example.com/keys"}, False),
        ({"BOOKING_JWT_PUBLIC_KEY": PEM, "BOOKING_ACCOUNTS": "on"}, True),
        ({"BOOKING_ACCOUNTS": "off"}, False),
    ],
)
def test_accounts_are_there_unless_a_provider_is(environment: dict[str, str], has_accounts: bool) -> None:
    assert read(**environment).has_accounts is has_accounts
