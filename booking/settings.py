"""Every setting, read from the environment, with its unit and bounds."""

import os
import re
import secrets
import signal
import socket
from collections.abc import Mapping
from email.utils import getaddresses
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
    ValidationInfo,
    field_validator,
    model_validator,
)

JWT_SECRET_BYTES_MIN = 32
"""RFC 7518, section 3.2: an HS256 key is at least as long as the hash."""

ACCOUNT_PREFIX = "account:"
"""The user ids of the service's own accounts begin with this; no other user id does (contract)."""

SOCKET_PATH_BYTES_MAX = 100
"""A little less than the longest path of a Unix socket (Linux 107 bytes, macOS 103)."""

SHORT_FOLDER = Path("/tmp")  # noqa: S108 - the folder made in it is checked to be readable by its owner only.
"""The folder for the socket if the data folder's path is too long."""

EXIT_WRONG_SETTING = 2
"""The exit code of every command that finds a wrong setting."""

EXIT_BEHIND = 75
"""The exit code of a persister that falls behind because of its low priority (EX_TEMPFAIL in sysexits.h)."""

DRAIN_SIGNAL = signal.SIGUSR1
"""The supervisor's message to a web worker that the service is about to stop."""

SHARDS_MAX = 1024
"""The largest number of shards."""

QUEUED_PER_SHARD = 4
"""Commands to one shard that a worker that sells nothing may have waiting."""

REDIS_FORMS = ("", "sentinel", "cluster")
"""What may follow + in the scheme of Redis's URL: what leads to the servers."""

SMTP_PORTS = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}
"""The schemes of BOOKING_SMTP_URL, and their ports (RFC 5321, 8314 and 6409)."""

SENDER = re.compile(r"[^@\s<>,;:\"]+@[^@\s<>,;:\"]+")
"""What the address of a sender looks like. The mail server decides whether it is one."""

SECRET_BYTES = 48
"""Random bytes in a new secret, which is written as base64url."""


class SettingsError(Exception):
    """Wrong settings. The message has one line for each."""


ANY = "*"


CLIENT_NETWORK_BITS = 64
"""The bits of an IPv6 address that identify a client: it may use any address of its own /64 network."""

CLIENT_CHARACTERS_MAX = 64
"""Characters used of a text that is not an address; a proxy may send any text."""


NODE_NAME = r"^[!-~]{1,253}$"
"""A node's name: visible ASCII characters, at most as many as a host name may have."""

ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _each_an_origin(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(value == ANY or is_origin(value) for value in values):
        raise ValueError(f"takes origins as browsers send them (https://shop.example, http://localhost:5173) or {ANY}")
    return values


def _each_a_network(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(value == ANY or _is_network(value) for value in values):
        raise ValueError(f"takes addresses and networks (10.0.0.7, 10.0.0.0/8) or {ANY}")
    return values


def _each_one_network(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(map(_is_network, values)):
        raise ValueError("takes addresses and networks (127.0.0.0/8, ::1)")
    return values


Origins = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_each_an_origin)]
"""Several origins, separated by commas."""

Networks = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_each_a_network)]
"""Several networks, separated by commas."""


def is_url(text: str, *schemes: str) -> bool:
    """Whether `text` is a URL with one of these schemes and a valid port, if any."""
    scheme, separator, _ = text.partition("://")
    try:
        url = urlsplit(text)
        _ = "," in url.netloc or url.port  # the driver parses several hosts with their ports
    except ValueError:
        return False
    return bool(separator) and scheme.lower().split("+")[0] in schemes


def is_origin(text: str) -> bool:
    """Whether a browser could send `text` as an origin: a scheme and a host in lower case, and nothing after them.

    Any scheme is valid: apps and extensions have their own (RFC 6454, section 7).
    """
    scheme, separator, host = text.partition("://")
    return (
        bool(scheme and separator and host) and host.isascii() and text == text.lower() and not set(host) & set("/?#@ ")
    )


def is_loopback(host: str | None) -> bool:
    """Whether `host` is this machine's loopback name or address."""
    try:
        return host == "localhost" or (host is not None and ip_address(host).is_loopback)
    except ValueError:
        return False


def local_url(host: str, port: int) -> str:
    """The URL at which this machine reaches a service that listens on `host` and `port`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def client_network(text: str) -> str:
    """The normalised network that a client's address is counted as: an IPv4 address, or the /64 of an IPv6 address."""
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
"""Variables that hosting platforms set. If the variable with `BOOKING_` is set, too, that one counts."""


class Settings(BaseModel):
    """The settings of one service. `booking …` reads them once and passes them to every process that it starts.

    A field's variable is `BOOKING_` and its name in capitals. An empty value counts as unset, so that an empty field in
    a platform's form means the default. Secrets are neither in the repr nor in the children's environment: children
    get the settings as `model_dump_json` over a pipe.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    host: str = "127.0.0.1"
    """One or several addresses to listen on, separated by commas; an IPv6 address without brackets."""
    port: int = Field(8000, ge=0, le=65_535)
    """0: the system chooses a port, which is printed and written to `service.json` in the data folder."""
    workers: int = Field(1, ge=1, le=64)
    node: str = Field(default_factory=socket.gethostname, pattern=NODE_NAME)
    """The name of this node in every line of its log. Unset: the name of the host."""
    drain_seconds: float = Field(0.0, ge=0, le=300)
    """How long, after SIGTERM, /healthz answers 503 while everything else is served, so that proxies send no more."""
    persist_port: int | None = Field(None, ge=1, le=65_535)
    """The port of /healthz and /metrics of `booking persist`, on `host`. Unset: it listens nowhere."""
    data_dir: Path = Field(Path("data"), validate_default=True)
    """The folder of all persistent files. Made absolute, so that it is the same folder for every process."""

    redis_url: str | None = Field(None, repr=False)
    """Unset: an embedded server with its files in the data folder."""
    redis_server: str | None = None
    """The program of the embedded server. Unset: the one installed with the service, else one on the PATH."""
    redis_memory_mb: int | None = Field(None, ge=16, le=16_000_000)
    """The embedded server's memory in megabytes; if it is full, bookings are refused. Unset: half of the machine's."""
    database_url: str | None = Field(None, repr=False)
    """Unset: SQLite in the data folder."""
    database_pool: int = Field(4, ge=2, le=100)
    """Connections of one web worker to the database, at most; one of them is not used for lists and reports."""
    shards: int = Field(8, ge=1, le=SHARDS_MAX)
    """The number of shards that the events are spread over; fixed at the first start and stored in SQL."""

    jwt_secret: str | None = Field(None, repr=False)
    """Unset: a random secret, created once in the data folder."""
    jwt_public_key: str | None = None
    """A PEM text, or the path of a file with one."""
    jwt_jwks_url: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_leeway_seconds: int = Field(0, ge=0, le=300)
    jwt_subject_prefix: str = Field("", max_length=64)
    """Prepended to each subject of an outside provider; it leaves the subject half of a user id's 128 characters."""
    accounts: Literal["on", "off"] | None = None
    """Whether the service has its own accounts. Unset: on, unless an outside provider is set."""

    smtp_url: str | None = Field(None, repr=False)
    """The server that takes mails to accounts. Unset: none are sent. With it, the two below have to be set."""
    mail_from: str | None = None
    """The sender of mails: `tickets@example.com` or `Tickets <tickets@example.com>`."""
    public_url: str | None = None
    """The address at which users reach the service, for the links in mails and what previews of a sale's link name;
    BOOKING_ROOT_PATH is a part of it. Unset: previews name no address."""
    stripe_secret: str | None = Field(None, min_length=16, repr=False)
    """The signing secret (`whsec_…`) of the endpoint that Stripe sends its events to: /payments/stripe."""

    rate_limit: Literal["on", "off"] = "on"
    rate_limit_burst: int = Field(20, ge=1, le=10_000)
    """Calls of one user to one event that may come at once."""
    rate_limit_per_second: float = Field(10.0, ge=0.001, le=10_000)
    read_rate_limit_burst: int = Field(200, ge=1, le=1_000_000)
    """Reads of one user or client address that may come at once: GET under /events and /bookings, except /live."""
    read_rate_limit_per_second: float = Field(50.0, ge=0.001, le=1_000_000)
    auth_rate_limit_per_minute: int = Field(60, ge=1, le=100_000)
    """Calls to /auth/* and password checks with HTTP Basic, for each client address."""

    root_path: str = ""
    """The path under which a proxy serves the service (`/tickets`), whether or not it strips the path."""
    cors_origins: Origins = ()
    trusted_proxies: Networks = ()
    """Addresses and networks of proxies whose X-Forwarded-For is trusted."""
    log_format: Literal["json", "console"] = "json"
    telemetry: dict[str, str] = Field({}, repr=False)
    """OpenTelemetry's variables OTEL_*, for its SDK. One of them may hold the collector's secret key."""

    ack: Literal["redis", "disk", "replica", "database"] | None = None
    """The durability of an acknowledged change. Unset: the strongest that Redis provides without waiting."""
    ack_replicas: int = Field(1, ge=1, le=16)
    """Replicas that must have a change before it is acknowledged, if `ack` is `replica`."""

    webhook_allow: Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_each_one_network)] = ()
    """Addresses and networks that webhooks may reach although they are not public, and without TLS, for trying out."""
    notify_port: int | None = Field(None, ge=1, le=65_535)
    """The port of /healthz and /metrics of `booking notify`, on `host`. Unset: it listens nowhere."""

    live_limit: int = Field(10_000, ge=1, le=1_000_000)
    """Listeners of /events/{id}/live in one worker; one more gets the error `overloaded`."""
    live_limit_per_address: int = Field(1_000, ge=1, le=1_000_000)
    """Listeners of one client address in one worker; one more gets the error `rate_limited`."""
    queue_limit: int = Field(4_096, ge=1, le=1_000_000)
    """Commands that may wait for Redis in one worker; one more gets the error `overloaded`. QUEUED_PER_SHARD * `shards`
    at least: the start, /readyz, /metrics and the sweep each ask all shards at once."""
    persister_lag_limit: int = Field(500_000, ge=1_000, le=1_000_000_000)
    """Stream entries of one shard that may wait for SQL before its events stop selling (503 `overloaded`)."""

    @field_validator("queue_limit")
    @classmethod
    def _room_for_all_shards(cls, value: int, info: ValidationInfo) -> int:
        least = QUEUED_PER_SHARD * info.data.get("shards", 1)
        if value < least:
            raise ValueError(f"has to be {least} or more: {QUEUED_PER_SHARD} times BOOKING_SHARDS")
        return value

    @field_validator("host")
    @classmethod
    def _addresses(cls, value: str) -> str:
        if not _split(value) or set(value) & set("[]/"):
            raise ValueError("takes names and addresses, separated by commas (::,0.0.0.0), without brackets")
        return value

    @field_validator("root_path")
    @classmethod
    def _path(cls, value: str) -> str:
        path = value.rstrip("/")
        if path and not ROOT_PATH.fullmatch(path):
            raise ValueError("has to be a path of letters, digits, '.', '_', '~' and '-' that begins with / (/tickets)")
        return path

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
            # Not the error itself: it contains the value, which may be a secret by mistake.
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
        value.encode()  # raises ValueError if it is not valid UTF-8, as a user id has to be
        if value.startswith(ACCOUNT_PREFIX):
            raise ValueError(f"must not begin with {ACCOUNT_PREFIX}, which is for the service's own accounts")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _smtp_scheme(cls, value: str | None) -> str | None:
        if value is None:
            return value
        if not is_url(value, *SMTP_PORTS) or value.partition("://")[0].lower() not in SMTP_PORTS:
            raise ValueError("has to be a URL that begins with smtp://, smtps:// or smtp+starttls://")
        url = urlsplit(value)
        if not url.hostname or url.path not in ("", "/") or url.query or url.fragment:
            raise ValueError("has to name a host, and nothing after the port (smtps://USER:PASSWORD@mail.example.com)")
        if (url.username is None) != (url.password is None):
            raise ValueError("has to have both a user and a password, or neither; in both, write @ as %40 and : as %3A")
        return value

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, value: str | None) -> str | None:
        if value is None:
            return value
        addresses = [address for _, address in getaddresses([value])]
        if set(value) & set("\r\n\0") or len(addresses) != 1 or not SENDER.fullmatch(addresses[0]):
            raise ValueError("has to be an address (tickets@example.com or Tickets <tickets@example.com>)")
        return value

    @field_validator("public_url")
    @classmethod
    def _where_pages_are(cls, value: str | None) -> str | None:
        if value is None:
            return value
        url = urlsplit(value)
        if not is_url(value, "https", "http") or not url.hostname or url.query or url.fragment or url.username:
            raise ValueError("has to be the URL of the first page (https://tickets.example.com)")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _all_for_mail(self) -> "Settings":
        missing = [_variable(name) for name in ("mail_from", "public_url") if getattr(self, name) is None]
        if self.smtp_url is not None and missing:
            raise ValueError(f"BOOKING_SMTP_URL: needs {' and '.join(missing)}, too")
        return self

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: str | None) -> str | None:
        if value is None:
            return value
        _, plus, form = value.partition("://")[0].lower().partition("+")
        if (
            form not in REDIS_FORMS
            or bool(plus) != bool(form)
            or not is_url(value, "redis", "rediss", *(() if form else ("unix",)))
        ):
            raise ValueError(
                "has to be a URL that begins with redis://, rediss:// or unix://, or with redis+sentinel:// or "
                "redis+cluster:// and several hosts (rediss+… for TLS)"
            )
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
        str(value).encode()  # raises ValueError if it is not valid UTF-8, which JSON for the children needs
        try:
            return value.expanduser().absolute()
        except RuntimeError:
            raise ValueError("names a home folder that does not exist") from None

    @classmethod
    def read(cls, environment: Mapping[str, str], **overrides: object) -> "Settings":
        """Reads `environment`. An override (from the command line) that is not None replaces a variable.

        Raises SettingsError with one line for each wrong value, which names the variable but never its value.
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
                    (f"{_variable(str(fault['loc'][0]))}: " if fault["loc"] else "")
                    + fault["msg"].removeprefix("Value error, ")
                    for fault in error.errors(include_url=False, include_input=False)
                )
            ) from None

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses to listen on, each once."""
        return tuple(dict.fromkeys(part.strip() for part in self.host.split(",") if part.strip()))

    @property
    def local_url(self) -> str:
        """The URL at which this machine reaches the service by its configured first address and port."""
        return local_url(self.hosts[0], self.port)

    @property
    def database_address(self) -> str:
        """The database's SQLAlchemy URL, with an asynchronous driver."""
        if self.database_url is None:
            return f"sqlite+aiosqlite:///{quote(str(self.data_dir / 'booking.sqlite3'))}"
        scheme, rest = self.database_url.split("://", 1)
        driver = "sqlite+aiosqlite" if scheme.lower().startswith("sqlite") else "postgresql+asyncpg"
        return f"{driver}://{rest}"

    @property
    def redis_address(self) -> str:
        """The URL for Redis clients: the configured one, or the embedded server's socket."""
        if self.redis_url is None:
            return f"unix://{quote(str(self.embedded_socket))}"
        return self.redis_url

    @property
    def embedded_socket(self) -> Path:
        """The embedded server's socket: in the data folder, or in a private folder if that path is too long."""
        inside = self.data_dir / "redis.sock"
        if len(os.fsencode(inside)) <= SOCKET_PATH_BYTES_MAX:
            return inside
        # The path depends only on the data folder and the user, so that it is the same in every process, whatever its
        # environment. The start of the embedded server creates the folder and checks its owner.
        name = sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return SHORT_FOLDER / f"booking-{os.geteuid()}-{name}" / "redis.sock"

    @property
    def has_outside_provider(self) -> bool:
        """Whether tokens of an outside provider are accepted."""
        return self.jwt_public_key is not None or self.jwt_jwks_url is not None

    @property
    def has_accounts(self) -> bool:
        """Whether the service has its own accounts: `/auth/*`, and HTTP Basic."""
        return self.accounts == "on" or (self.accounts is None and not self.has_outside_provider)

    @property
    def sends_mail(self) -> bool:
        """Whether accounts get mail."""
        return self.smtp_url is not None

    @property
    def embedded_redis(self) -> bool:
        """Whether `booking serve` runs an embedded Redis."""
        return self.redis_url is None

    def signing_secret(self) -> bytes:
        """The HS256 secret: the configured one, or the data folder's. Raises SettingsError, OSError."""
        if self.jwt_secret is not None:
            return self.jwt_secret.encode()
        path = self.data_dir / "jwt-secret"
        secret = _read_or_make_secret(path)
        if len(secret) < JWT_SECRET_BYTES_MIN:
            raise SettingsError(
                f"{path} has fewer than {JWT_SECRET_BYTES_MIN} bytes; delete it, and the next start creates a new one"
            )
        return secret


def _variable(field: str) -> str:
    return f"BOOKING_{field.upper()}"


def _read_or_make_secret(path: Path) -> bytes:
    """The secret in the file `path` (mode 0600), which is created if missing. Raises OSError."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Written to another file and then linked: no process reads half a secret, and only one process can create it.
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
