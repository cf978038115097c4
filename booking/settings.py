"""Every setting, from the environment, with its unit and bounds."""

import os
import secrets
from collections.abc import Mapping
from hashlib import sha256
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

JWT_SECRET_BYTES_MIN = 32
"""RFC 7518, section 3.2: an HS256 key is at least as long as the hash."""

ACCOUNT_PREFIX = "account:"
"""What the user id of an account of the service begins with, and that of nobody else (contract)."""

SOCKET_PATH_BYTES_MAX = 100
"""A little under what a Unix socket's address holds (Linux 107 bytes, macOS 103)."""

SHORT_FOLDER = Path("/tmp")  # noqa: S108 - what is made in it belongs to its owner alone, and that is checked.
"""Where sockets go whose data folder's path is too long."""

EXIT_WRONG_SETTING = 2
"""The exit code of every command that finds one."""

EXIT_BEHIND = 75
"""The exit code of a persister that cannot keep up while it gives way to everybody else (sysexits.h: try again)."""

SECRET_BYTES = 48
"""Random bytes in a new secret; it is written as base64url."""


class SettingsError(Exception):
    """One line for each setting that is wrong."""


ANYBODY = "*"


CLIENT_NETWORK_BITS = 64
"""Of an IPv6 address: behind them a client has a network of its own, and chooses its address as it likes."""

CLIENT_CHARACTERS_MAX = 64
"""Of what is no address, for a proxy may say anything."""


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _each_an_origin(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(value == ANYBODY or is_origin(value) for value in values):
        raise ValueError(
            f"takes origins as browsers send them (https://shop.example, http://localhost:5173) or {ANYBODY}"
        )
    return values


def _each_a_network(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(value == ANYBODY or _is_network(value) for value in values):
        raise ValueError(f"takes addresses and networks (10.0.0.7, 10.0.0.0/8) or {ANYBODY}")
    return values


Origins = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_each_an_origin)]
"""Several, with commas between them."""

Networks = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_each_a_network)]
"""Several, with commas between them."""


def is_url(text: str, *schemes: str) -> bool:
    """Whether it is one of these schemes, with a port that is one."""
    scheme, separator, _ = text.partition("://")
    try:
        url = urlsplit(text)
        _ = "," in url.netloc or url.port  # several hosts, each with its port, are for the driver to read
    except ValueError:
        return False
    return bool(separator) and scheme.lower().split("+")[0] in schemes


def is_origin(text: str) -> bool:
    """Whether a browser could send it as a page's origin: scheme and host, in lower case, and nothing behind them.

    Any scheme does: apps and extensions have their own (RFC 6454, section 7).
    """
    scheme, separator, host = text.partition("://")
    return (
        bool(scheme and separator and host) and host.isascii() and text == text.lower() and not set(host) & set("/?#@ ")
    )


def is_loopback(host: str | None) -> bool:
    """Whether it names this machine to itself."""
    try:
        return host == "localhost" or (host is not None and ip_address(host).is_loopback)
    except ValueError:
        return False


def client_network(text: str) -> str:
    """What a client's address is counted under, in one spelling: an IPv4 address, or an IPv6 address's /64."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return text[:CLIENT_CHARACTERS_MAX]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Network((int(address), CLIENT_NETWORK_BITS), strict=False))
    return str(address)


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


PLATFORM_SPELLINGS = {"port": "PORT", "redis_url": "REDIS_URL", "database_url": "DATABASE_URL"}
"""Names that hosting platforms set; the one that begins with `BOOKING_` wins where both are there."""


class Settings(BaseModel):
    """The settings of one service, read once by `booking …` and handed to every process it starts.

    A field is read from the variable `BOOKING_` and its name in capitals. An empty value counts as unset, so that a
    platform's blank form field means the default. Secrets stay out of the repr, and out of the children's environment:
    they travel as `model_dump_json` over a pipe.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65_535)
    """0 lets the system choose; the port chosen is printed and kept in `service.json` in the data folder."""
    workers: int = Field(1, ge=1, le=64)
    data_dir: Path = Field(Path("data"), validate_default=True)
    """Everything that has to last; made absolute, so that every process means the same folder."""

    redis_url: str | None = Field(None, repr=False)
    """Unset: an embedded server, kept in the data folder."""
    redis_server: str | None = None
    """The program of the embedded server; unset: the one that is installed with the service, else one on the PATH."""
    database_url: str | None = Field(None, repr=False)
    """Unset: SQLite in the data folder."""
    shards: int = Field(8, ge=1, le=1024)
    """How many parts the events are spread over; fixed at the first start and kept in SQL."""

    jwt_secret: str | None = Field(None, repr=False)
    """Unset: made once and kept in the data folder."""
    jwt_public_key: str | None = None
    """A PEM text, or the path of a file that holds one."""
    jwt_jwks_url: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_leeway_seconds: int = Field(0, ge=0, le=300)
    jwt_subject_prefix: str = Field("", max_length=64)
    """In front of each subject of an outside provider; half of a user id's 128 characters are left to the subject."""
    accounts: Literal["on", "off"] | None = None
    """Accounts of the service's own; unset: on, unless an outside provider is set."""

    rate_limit: Literal["on", "off"] = "on"
    rate_limit_burst: int = Field(20, ge=1, le=10_000)
    """Calls of one user on one event that may come at once."""
    rate_limit_per_second: float = Field(10.0, gt=0, le=10_000)
    auth_rate_limit_per_minute: int = Field(60, ge=1, le=100_000)
    """Calls to /auth/*, and checks of a password by Basic, from one client address."""

    cors_origins: Origins = ()
    trusted_proxies: Networks = ()
    """Addresses whose X-Forwarded-For is believed."""
    log_format: Literal["json", "console"] = "json"
    telemetry: dict[str, str] = Field({}, repr=False)
    """OpenTelemetry's own variables, OTEL_*, as its SDK reads them. One of them may hold a key to the collector."""

    ack: Literal["redis", "disk", "replica", "database"] | None = None
    """What a change has survived when it is acknowledged; unset: the strongest that Redis gives by itself."""
    ack_replicas: int = Field(1, ge=1, le=16)
    """Replicas that have a change before it is acknowledged, where `ack` is `replica`."""

    live_limit: int = Field(10_000, ge=1, le=1_000_000)
    """Listeners to /events/{id}/live in one worker; one more is answered `overloaded`."""
    queue_limit: int = Field(4_096, ge=1, le=1_000_000)
    """Commands that may wait for Redis in one worker; one more is answered `overloaded`."""
    persister_lag_limit: int = Field(500_000, ge=1_000)
    """Stream entries of one shard that may wait for SQL before its events stop selling (503 `overloaded`)."""

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, value: str | None) -> str | None:
        if value is not None and len(value.encode()) < JWT_SECRET_BYTES_MIN:
            raise ValueError(f"needs at least {JWT_SECRET_BYTES_MIN} bytes (openssl rand -base64 48 makes a good one)")
        return value

    @field_validator("jwt_public_key")
    @classmethod
    def _pem_text(cls, value: str | None) -> str | None:
        if value is None or "-----BEGIN" in value:
            return value
        try:
            text = Path(value).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            # Not the error itself: it repeats the value, which may be a secret in the wrong place.
            reason = error.strerror if isinstance(error, OSError) else "not a text"
            raise ValueError(f"is neither a PEM text nor a file that can be read ({reason})") from None
        if "-----BEGIN" not in text:
            raise ValueError("names a file that holds no PEM text")
        return text

    @field_validator("jwt_jwks_url")
    @classmethod
    def _https_or_loopback(cls, value: str | None) -> str | None:
        if value is None:
            return value
        url = urlsplit(value)
        if (url.scheme == "https" and url.hostname) or (url.scheme == "http" and is_loopback(url.hostname)):
            return value
        raise ValueError("has to be an https:// address (http:// only on loopback)")

    @field_validator("jwt_subject_prefix")
    @classmethod
    def _no_accounts(cls, value: str) -> str:
        value.encode()  # raises ValueError where it is not UTF-8, which no user id could hold
        if value.startswith(ACCOUNT_PREFIX):
            raise ValueError(f"must not begin with {ACCOUNT_PREFIX}, which is for the service's own accounts")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: str | None) -> str | None:
        if value is not None and ("+" in value.split(":")[0] or not is_url(value, "redis", "rediss", "unix")):
            raise ValueError("has to be a URL that begins with redis://, rediss:// or unix://")
        return value

    @field_validator("database_url")
    @classmethod
    def _database_scheme(cls, value: str | None) -> str | None:
        if value is not None and not is_url(value, "postgresql", "postgres", "sqlite"):
            raise ValueError("has to be a URL that begins with postgresql:// or sqlite:///")
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        str(value).encode()  # raises ValueError where it is not UTF-8, which no child could be told
        try:
            return value.expanduser().absolute()
        except RuntimeError:
            raise ValueError("names a home folder that there is not") from None

    @classmethod
    def read(cls, environment: Mapping[str, str], **overrides: object) -> "Settings":
        """Reads `environment`; an override that is not None, from the command line, outranks it.

        Raises SettingsError with one line for each value that is wrong, naming the variable but never its value.
        """
        given: dict[str, object] = {}
        for name in cls.model_fields.keys() - {"telemetry"}:
            value = environment.get(_variable(name)) or environment.get(PLATFORM_SPELLINGS.get(name, ""))
            if value:
                given[name] = value
        if telemetry := {name: value for name, value in environment.items() if name.startswith("OTEL_") and value}:
            given["telemetry"] = telemetry
        given.update((name, value) for name, value in overrides.items() if value is not None)
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise SettingsError(
                "\n".join(
                    f"{_variable(str(fault['loc'][0]))}: {fault['msg'].removeprefix('Value error, ')}"
                    for fault in error.errors(include_url=False, include_input=False)
                )
            ) from None

    @property
    def database_address(self) -> str:
        """The SQLAlchemy URL, with the asynchronous driver that belongs to its database."""
        if self.database_url is None:
            return f"sqlite+aiosqlite:///{quote(str(self.data_dir / 'booking.sqlite3'))}"
        scheme, rest = self.database_url.split("://", 1)
        driver = "sqlite+aiosqlite" if scheme.lower().startswith("sqlite") else "postgresql+asyncpg"
        return f"{driver}://{rest}"

    @property
    def redis_address(self) -> str:
        """The URL that clients connect to: the one that was set, or the embedded server's socket."""
        if self.redis_url is None:
            return f"unix://{quote(str(self.embedded_socket))}"
        return self.redis_url

    @property
    def embedded_socket(self) -> Path:
        """The embedded server's socket: in the data folder, or in a private short one where that path is too long."""
        inside = self.data_dir / "redis.sock"
        if len(os.fsencode(inside)) <= SOCKET_PATH_BYTES_MAX:
            return inside
        # Worked out from the data folder and the user alone, so that every process comes to the same path whatever
        # its environment; the embedded server's start makes the folder and checks whose it is.
        name = sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return SHORT_FOLDER / f"booking-{os.geteuid()}-{name}" / "redis.sock"

    @property
    def has_outside_provider(self) -> bool:
        """Whether tokens are taken that somebody else has signed."""
        return self.jwt_public_key is not None or self.jwt_jwks_url is not None

    @property
    def has_accounts(self) -> bool:
        """Whether there are accounts of the service's own: `/auth/*`, and Basic."""
        return self.accounts == "on" or (self.accounts is None and not self.has_outside_provider)

    @property
    def embedded_redis(self) -> bool:
        """Whether `booking serve` runs Redis itself."""
        return self.redis_url is None

    def signing_secret(self) -> bytes:
        """The HS256 secret: the one that was set, or the data folder's own. Raises SettingsError, OSError."""
        if self.jwt_secret is not None:
            return self.jwt_secret.encode()
        path = self.data_dir / "jwt-secret"
        secret = _read_or_make_secret(path)
        if len(secret) < JWT_SECRET_BYTES_MIN:
            raise SettingsError(
                f"{path} holds fewer than {JWT_SECRET_BYTES_MIN} bytes; delete it to have one made anew"
            )
        return secret


def _variable(field: str) -> str:
    return f"BOOKING_{field.upper()}"


def _read_or_make_secret(path: Path) -> bytes:
    """The secret that is kept at `path` (mode 0600). Raises OSError where it can be neither read nor made."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Written aside and linked into place: nobody ever reads half a secret, and a second maker loses.
        aside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(aside)
        except FileExistsError:
            pass
        finally:
            aside.unlink()
    return path.read_bytes().strip()
