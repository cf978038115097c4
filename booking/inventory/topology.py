"""Which server has which shard: one map of a process, shared by all of its connections to Redis."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot

from booking.inventory import keys
from booking.inventory.connection import execute, location_of, open_pool, raise_first, unavailable
from booking.inventory.errors import InventoryUnavailable
from booking.logs import ThrottledLogger

SLOTS = 16_384
"""The hash slots of a cluster."""

ASK_SECONDS_MAX = 0.5
"""How long one node or Sentinel may take to answer; then the next one is asked."""

PAUSE_SECONDS = 0.05
"""Between two questions, even if the map is found to be wrong again and again."""

UNKNOWN = ""
"""In place of the address of a primary that is not known."""

Form = Literal["server", "sentinel", "cluster"]
Owners = Sequence[str]
"""By hash slot: the redis-py URL of the primary that has it, or UNKNOWN."""


class Finder(Protocol):
    """Finds out which primary has which slot."""

    form: Form
    period_seconds: float
    """How often to ask if nothing says that the map is wrong."""

    async def find(self, suspects: Collection[str]) -> Owners:
        """Asks, those in `suspects` last. Raises InventoryUnavailable if none answers."""

    def url_of(self, location: str) -> str:
        """The redis-py URL of the server at `host:port`."""


class Topology:
    """The primaries, by the shards that each has. Reading the map asks no server.

    Addresses are redis-py URLs, which may hold a password: `inspection.location_of` names them without it.
    """

    def __init__(self, shards: int, finder: Finder | None, owners: Owners) -> None:
        self._finder = finder
        self._owners = owners
        self._slots = [key_slot(keys.epoch(shard)) for shard in range(shards)]
        self._listeners: list[Callable[[], None]] = []
        self._suspects: set[str] = set()
        self._is_doubted = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._not_found = ThrottledLogger("which server has which shard cannot be found out")

    @property
    def form(self) -> Form:
        """One fixed server, one that Sentinels name, or a cluster."""
        return "server" if self._finder is None else self._finder.form

    @property
    def shards(self) -> int:
        """The number of shards."""
        return len(self._slots)

    def locate(self, shard: int) -> str:
        """The address of the shard's primary. Raises InventoryUnavailable if it is not known."""
        return self._owner(self._slots[shard])

    def locate_key(self, key: bytes) -> str:
        """The address of the primary that has a key. Raises InventoryUnavailable if it is not known."""
        return self._owner(key_slot(key))

    def addresses(self) -> list[str]:
        """All primaries that have a shard, in the order of the shards."""
        return [address for address in dict.fromkeys(self._owners[slot] for slot in self._slots) if address]

    def shards_at(self, address: str) -> list[int]:
        """The shards that the primary at `address` has."""
        return [shard for shard, slot in enumerate(self._slots) if self._owners[slot] == address]

    def on_change(self, listener: Callable[[], None]) -> None:
        """Has `listener` called after each change of the map."""
        self._listeners.append(listener)

    def moved(self, refusal: str) -> None:
        """Takes a server's answer `MOVED <slot> <host>:<port>` into the map, and has the rest of the map refreshed."""
        self._is_doubted.set()
        slot, location = refusal.split()[-2:]
        if self._finder is None or not slot.isdigit() or location.startswith((":", "?")):
            return
        owners = list(self._owners)
        owners[int(slot)] = self._finder.url_of(location)
        self._use(owners)

    def distrust(self, address: str) -> None:
        """Has the map refreshed soon, without asking `address`: a connection to it was lost, or it is a replica."""
        self._suspects.add(address)
        self._is_doubted.set()

    async def refresh(self) -> None:
        """Asks for the map now; the first call starts a task that keeps it fresh. Raises InventoryUnavailable.

        Callers at the same time share one question. A fixed server is not asked.
        """
        if self._finder is None:
            return
        if self._following is None:
            self._following = asyncio.create_task(self._follow(self._finder.period_seconds), name="topology")
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._find(self._finder), name="ask for the topology")
        await asyncio.shield(self._asking)

    async def close(self) -> None:
        """Ends the task that keeps the map fresh."""
        tasks = [task for task in (self._following, self._asking) if task is not None]
        self._following = self._asking = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _owner(self, slot: int) -> str:
        address = self._owners[slot]
        if not address:
            raise InventoryUnavailable("no Redis server is known to have this shard")
        return address

    async def _find(self, finder: Finder) -> None:
        suspects = frozenset(self._suspects)
        owners = await finder.find(suspects)
        self._suspects -= suspects
        self._use(owners)

    def _use(self, owners: Owners) -> None:
        if owners != self._owners:
            self._owners = owners
            for listener in self._listeners:
                listener()

    async def _follow(self, period_seconds: float) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_doubted.wait(), period_seconds)
            self._is_doubted.clear()
            try:
                await self.refresh()
            except Exception as error:  # noqa: BLE001 - logged, and asked again: the map has to be followed for ever
                self._not_found.error(reason=str(error) or repr(error))
            await asyncio.sleep(PAUSE_SECONDS)


@dataclass(slots=True)
class ClusterFinder:
    """Asks the nodes of a cluster, in turn."""

    servers: "ServerUrls"
    nodes: list[str]
    """The nodes' addresses, in the order in which they are asked; at first the seeds, which always stay."""
    epoch: int = 0
    """The highest configuration epoch that was seen. A node with a lower one does not know of the last failover."""
    form: Form = "cluster"
    period_seconds: float = 3.0
    seeds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.seeds = tuple(self.nodes)

    def url_of(self, location: str) -> str:
        return self.servers.url_of(location)

    async def find(self, suspects: Collection[str]) -> Owners:
        """The slots as a node has them that knows of the last failover; if none does, as the best of them has them."""
        best: tuple[int, list[Any], str] | None = None
        reason = ""
        for node in sorted(self.nodes, key=lambda address: address in suspects):
            try:
                info, ranges = await _ask(node, [("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")])
            except InventoryUnavailable as error:
                reason = f"{location_of(node)}: {error}"
                continue
            fields = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
            epoch = int(fields.get("cluster_current_epoch", 0))
            if ranges and (best is None or epoch > best[0]):
                best = epoch, ranges, node
            if best is not None and best[0] >= self.epoch:
                break
        if best is None:
            raise InventoryUnavailable(f"none of {len(self.nodes)} nodes of the cluster tells who has what ({reason})")
        self.epoch, ranges, asked = best
        return self._owners(ranges, asked)

    def _owners(self, ranges: Iterable[Any], asked: str) -> Owners:
        owners = [UNKNOWN] * SLOTS
        others = dict[str, None]()
        for first, last, *nodes in ranges:
            # A node without a host is at the one that was asked.
            found = [self.url_of(f"{(host or b'').decode() or _host_of(asked)}:{port}") for host, port, *_ in nodes]
            owners[first : last + 1] = [found[0]] * (last + 1 - first)
            others |= dict.fromkeys(found)
        # The one that has answered is asked last the next time: it may be cut off from the others.
        rest = [node for node in dict.fromkeys([*self.nodes, *others]) if node in others or node in self.seeds]
        self.nodes = [*(node for node in rest if node != asked), asked]
        return owners


@dataclass(slots=True)
class SentinelFinder:
    """Asks all Sentinels at the same time, and goes by most of those that answer."""

    servers: "ServerUrls"
    sentinels: list[str]
    name: str
    form: Form = "sentinel"
    period_seconds: float = 1.0

    def url_of(self, location: str) -> str:
        return self.servers.url_of(location)

    async def find(self, suspects: Collection[str]) -> Owners:  # noqa: ARG002 - Sentinels are no suspects
        """The primary, once more than half of the Sentinels name it; else that which most of them name."""
        votes = dict[str, int]()
        reason = ""
        asked = [asyncio.create_task(self._ask(sentinel)) for sentinel in self.sentinels]
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    location = await answer
                except InventoryUnavailable as error:
                    reason = str(error)
                    continue
                votes[location] = votes.get(location, 0) + 1
                if 2 * votes[location] > len(asked):
                    break
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        if not votes:
            raise InventoryUnavailable(f"none of {len(asked)} Sentinels names the primary of {self.name!r} ({reason})")
        return [self.url_of(max(votes, key=lambda location: votes[location]))] * SLOTS

    async def _ask(self, sentinel: str) -> str:
        (found,) = await _ask(sentinel, [("SENTINEL", "get-master-addr-by-name", self.name)])
        if not found:
            raise InventoryUnavailable(f"this Sentinel does not watch {self.name!r}")
        host, port = found
        return f"{host.decode()}:{port.decode()}"


@dataclass(frozen=True, slots=True)
class ServerUrls:
    """What the URLs of all servers have in common: scheme, user and password, database, and options."""

    scheme: str
    user: str = ""
    path: str = ""
    query: str = ""
    known: dict[str, str] = field(default_factory=dict)

    def url_of(self, location: str) -> str:
        """The redis-py URL of the server at `host:port`; one string object for each location."""
        url = self.known.get(location)
        if url is None:
            host, _, port = location.rpartition(":")
            if ":" in host and not host.startswith("["):
                host = f"[{host}]"
            query = f"?{self.query}" if self.query else ""
            url = self.known[location] = f"{self.scheme}://{self.user}{host}:{port}{self.path}{query}"
        return url


def open_topology(url: str, shards: int) -> Topology:
    """The topology that the URL names. It connects nothing; only a fixed server is known before `refresh`.

    - `redis://…`, `rediss://…`, `unix://…`: one fixed server, which has all shards.
    - `redis+sentinel://[user:password@]host[:26379],…/name[/database][?options]`: the primary that Sentinels watch
      under this name.
    - `redis+cluster://[user:password@]host[:6379],…[?options]`: a cluster; any of its nodes may be named.

    `rediss+…` speaks TLS. User, password, database and options are for the servers; `sentinel_user` and
    `sentinel_password` among the options are for the Sentinels. Raises ValueError for a URL that cannot be parsed; its
    text holds no part of the URL.
    """
    scheme, _, rest = url.partition("://")
    scheme, _, form = scheme.lower().partition("+")
    if not form:
        _check(url)
        return Topology(shards, None, [url] * SLOTS)
    if scheme not in ("redis", "rediss") or form not in ("sentinel", "cluster"):
        raise ValueError("the URL's scheme is not one that is known")
    split = urlsplit(f"//{rest}")
    user, at, hosts = split.netloc.rpartition("@")
    path = split.path.strip("/").split("/")
    options = [option for option in split.query.split("&") if option]
    if form == "cluster":
        if path not in ([""], ["0"]):
            raise ValueError("a cluster has no databases but 0")
        servers = ServerUrls(scheme, user + at, "", "&".join(options))
        seeds = [servers.url_of(location) for location in _locations(hosts, 6379)]
        _check(seeds[0])
        return Topology(shards, ClusterFinder(servers, seeds), [UNKNOWN] * SLOTS)
    name, *database = path
    if not name or len(database) > 1 or not all(part.isdigit() for part in database):
        raise ValueError("the URL has to end with the name that the Sentinels watch: redis+sentinel://host,host/name")
    own = {"sentinel_user=": "", "sentinel_password=": ""}
    for prefix in own:
        own[prefix] = next((option.removeprefix(prefix) for option in options if option.startswith(prefix)), "")
    shared = [option for option in options if not option.startswith(tuple(own))]
    servers = ServerUrls(scheme, user + at, "".join(f"/{part}" for part in database), "&".join(shared))
    its_user = f"{own['sentinel_user=']}:{own['sentinel_password=']}@" if any(own.values()) else ""
    asked = ServerUrls(scheme, its_user, "", "&".join(option for option in shared if not option.startswith("db=")))
    sentinels = [asked.url_of(location) for location in _locations(hosts, 26_379)]
    _check(servers.url_of("localhost:6379"))
    return Topology(shards, SentinelFinder(servers, sentinels, name), [UNKNOWN] * SLOTS)


def _locations(hosts: str, default_port: int) -> list[str]:
    """`host:port` for each of the hosts. Raises ValueError."""
    locations = []
    for host in hosts.split(","):
        try:
            parsed = urlsplit(f"//{host}")
            name, port = parsed.hostname, parsed.port or default_port
        except ValueError:  # not repeated: its text holds a part of the URL
            raise ValueError("the URL has a host or a port that cannot be read") from None
        if not name:
            raise ValueError("the URL names no host between two commas")
        locations.append(f"{name}:{port}")
    return list(dict.fromkeys(locations))


def _host_of(address: str) -> str:
    return urlsplit(address).hostname or ""


def _check(url: str) -> None:
    """Raises ValueError for an address or an option that redis-py cannot take."""
    try:
        open_pool(url, None).make_connection()  # type: ignore[no-untyped-call]  # redis-py's
    except (TypeError, ValueError):  # not repeated: their text may hold parts of the address
        raise ValueError("the URL has an option that is not known, or a value that cannot be read") from None


async def _ask(address: str, commands: Sequence[Sequence[str]]) -> list[Any]:
    """The replies to some commands, over a connection of their own. Raises InventoryUnavailable for any error."""
    connection: AbstractConnection = open_pool(address, ASK_SECONDS_MAX).make_connection()  # type: ignore[no-untyped-call]  # redis-py's
    try:
        with unavailable("asked for its topology"):
            async with asyncio.timeout(ASK_SECONDS_MAX):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
                replies = await execute(connection, commands)
    finally:
        await connection.disconnect(nowait=True)
    raise_first(replies)
    return replies
