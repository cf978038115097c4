"""Clients of every primary: a shard's commands go to the primary that has the shard.

Primaries are asked at the same time. One that is away fails its own shards, and nothing else waits for it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import AskError, MovedError, RedisError, ResponseError, TryAgainError

from booking.inventory.connection import location_of, open_client, reason_of
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.topology import Topology, open_topology
from booking.settings import SHARDS_MAX

T = TypeVar("T")

Command = Sequence[bytes | str | int]

REDIRECTED_SECONDS = (0.0, 0.02, 0.1, 0.3)
"""Pauses before a read is repeated whose slot has moved or is moving: Redis has refused it before it ran."""

PROBE_SECONDS = 0.2
"""Between two attempts to reach a primary that was lost."""


class ShardMoved(InventoryUnavailable):
    """The shard's slot is at another primary, or on its way there. The command did not run."""


class ShardClients:
    """A client with a pool for each primary, opened when it is first used."""

    def __init__(self, topology: Topology | str, seconds_max: float, *, unparsed: Collection[str] = ()) -> None:
        """A primary may take `seconds_max` for each reply. An address instead of a topology is one fixed server.

        Replies to the commands `unparsed` stay as Redis sends them. Raises ValueError if the address is not valid.
        """
        self.topology = open_topology(topology, SHARDS_MAX) if isinstance(topology, str) else topology
        self._seconds_max = seconds_max
        self._unparsed = unparsed
        self._clients: dict[str, Redis] = {}
        self._probes: dict[str, asyncio.Task[None]] = {}
        """Primaries that were lost. They are asked again when a probe has reached them."""
        self.away: dict[int, InventoryUnavailable] = {}
        """Shards that could not be asked when `ask` last tried, and the reason."""

    async def close(self) -> None:
        """Closes all connections."""
        for probe in self._probes.values():
            probe.cancel()
        await asyncio.gather(*self._probes.values(), return_exceptions=True)
        for client in self._clients.values():
            await client.aclose()

    async def ask(self, commands: Mapping[int, Sequence[Command]], failed: str = "reached") -> dict[int, list[Any]]:
        """The replies to each shard's commands; an error about one key is a reply. `away` has the shards without one.

        Raises InventoryUnavailable if every shard is away. A shard that has moved is asked at its new primary.
        """
        answers = await self._ask(commands, failed)
        if moved := {shard: commands[shard] for shard, found in answers.items() if isinstance(found, ShardMoved)}:
            answers |= await self._ask(moved, failed)
        found: dict[int, list[Any]] = {}
        for shard in commands:
            answer = answers[shard]
            if isinstance(answer, InventoryUnavailable):
                self.away[shard] = answer
            else:
                found[shard] = answer
                self.away.pop(shard, None)
        if commands and not found:
            raise next(iter(answers.values()))  # type: ignore[misc]  # each of them is an error
        return found

    async def call(self, shard: int, ask: Callable[[Any], Awaitable[T]], failed: str = "read") -> T:
        """What `ask` returns for the client of the shard's primary. It has to be a read: it may be repeated.

        Raises InventoryUnavailable("Redis cannot be `failed`").
        """
        for pause in REDIRECTED_SECONDS:
            await asyncio.sleep(pause)
            with suppress(ShardMoved), self.using(shard, failed) as redis:
                return await ask(redis)
        with self.using(shard, failed) as redis:
            return await ask(redis)

    async def each(
        self, ask: Callable[[Any], Awaitable[T]], failed: str = "read"
    ) -> dict[str, T | InventoryUnavailable]:
        """What `ask` returns for each known primary, or why it cannot be asked, by the primary's address."""

        async def one(address: str) -> T | InventoryUnavailable:
            try:
                with self._at(address, failed) as redis:
                    return await ask(redis)
            except InventoryUnavailable as error:
                return error

        addresses = self.topology.addresses()
        return dict(zip(addresses, await asyncio.gather(*map(one, addresses)), strict=True))

    def executor(self, address: str) -> Callable[[Iterable[Command]], Awaitable[list[Any]]]:
        """As `script_connection.Execute`, at one primary. What it returns raises InventoryUnavailable."""

        async def execute(commands: Iterable[Command]) -> list[Any]:
            with self._at(address, "reached") as redis:
                pipeline: Any = redis.pipeline(transaction=False)
                for command in commands:
                    pipeline.execute_command(*command)
                replies: list[Any] = await pipeline.execute(raise_on_error=False)
                return replies

        return execute

    @contextmanager
    def using(self, shard: int, failed: str) -> Iterator[Any]:
        """The client of the shard's primary. An error inside becomes InventoryUnavailable, and the topology is told."""
        with self._at(self.topology.locate(shard), failed) as redis:
            yield redis

    @contextmanager
    def _at(self, address: str, failed: str) -> Iterator[Any]:
        if address in self._probes:
            raise self._silent(address)
        try:
            yield self._client(address)
        except (RedisError, OSError) as error:
            raise self._told(error, address, failed) from None

    async def _ask(
        self, commands: Mapping[int, Sequence[Command]], failed: str
    ) -> dict[int, list[Any] | InventoryUnavailable]:
        answers: dict[int, list[Any] | InventoryUnavailable] = {}
        by_address: dict[str, dict[int, Sequence[Command]]] = {}
        for shard, its_commands in commands.items():
            try:
                by_address.setdefault(self.topology.locate(shard), {})[shard] = its_commands
            except InventoryUnavailable as error:
                answers[shard] = error
        for found in await asyncio.gather(
            *(self._ask_one(address, some, failed) for address, some in by_address.items())
        ):
            answers |= found
        return answers

    async def _ask_one(
        self, address: str, commands: Mapping[int, Sequence[Command]], failed: str
    ) -> dict[int, list[Any] | InventoryUnavailable]:
        if address in self._probes:
            return dict.fromkeys(commands, self._silent(address))
        client = self._client(address)
        pipeline: Any = client.pipeline(transaction=False)
        for its_commands in commands.values():
            for command in its_commands:
                pipeline.execute_command(*command)
        try:
            replies = iter(await pipeline.execute(raise_on_error=False))
        except (RedisError, OSError) as error:
            return dict.fromkeys(commands, self._told(error, address, failed))
        answers: dict[int, list[Any] | InventoryUnavailable] = {}
        for shard, its_commands in commands.items():
            own = [next(replies) for _ in its_commands]
            refusal = next((one for one in own if isinstance(one, Exception) and not is_of_one_key(one)), None)
            if refusal is None:
                answers[shard] = own
            else:
                answers[shard] = self._told(refusal, address)
        if any(isinstance(one, InventoryUnavailable) and not isinstance(one, ShardMoved) for one in answers.values()):
            await client.connection_pool.disconnect()  # after a failover the address may lead elsewhere
        return answers

    async def _probe(self, address: str) -> None:
        """Returns when the primary answers, or is no primary any more; its shards are asked again then."""
        try:
            while address in self.topology.addresses():
                with suppress(RedisError, OSError):
                    await self._client(address).ping()
                    return
                await asyncio.sleep(PROBE_SECONDS)
        finally:
            del self._probes[address]

    def _told(self, error: Exception, address: str, failed: str = "") -> InventoryUnavailable:
        """Tells the topology of a primary's error, and returns what a caller gets. `failed` is empty for a refusal."""
        if isinstance(error, MovedError):
            self.topology.moved(str(error))
            return ShardMoved("a shard has moved to another primary")
        if isinstance(error, AskError | TryAgainError):
            return ShardMoved("a shard is on its way to another primary")
        if not is_of_one_key(error):
            self.topology.distrust(address)
        if not isinstance(error, ResponseError) and len(self.topology.addresses()) > 1 and address not in self._probes:
            self._probes[address] = asyncio.create_task(self._probe(address), name="probe of a primary")
        named, reason = self._named(address), reason_of(error)
        return InventoryUnavailable(
            f"Redis{named} cannot be {failed} ({reason})" if failed else f"Redis{named} refuses ({reason})"
        )

    def _silent(self, address: str) -> InventoryUnavailable:
        return InventoryUnavailable(f"Redis{self._named(address)} does not answer")

    def _named(self, address: str) -> str:
        """The primary's location, if there are several."""
        return f" at {location_of(address)}" if len(self.topology.addresses()) > 1 else ""

    def _client(self, address: str) -> Redis:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = open_client(address, self._seconds_max)
            for name in self._unparsed:
                client.response_callbacks[name] = _unchanged  # type: ignore[assignment]  # it takes any options
        return client


@asynccontextmanager
async def opened_topology(url: str, shards: int) -> AsyncIterator[Topology]:
    """A topology that has asked where the shards are. Raises InventoryUnavailable if it cannot find out."""
    topology = open_topology(url, shards)
    try:
        await topology.refresh()
        yield topology
    finally:
        await topology.close()


def placement(topology: Topology) -> dict[str, list[int]]:
    """The shards of each known primary, by its location."""
    return {location_of(address): topology.shards_at(address) for address in topology.addresses()}


def describe_away(away: Mapping[int, InventoryUnavailable]) -> str:
    """Names the shards that cannot be asked, with the reason of each group: "the shards 1, 4: Redis at …"."""
    by_reason: dict[str, list[int]] = {}
    for shard, error in sorted(away.items()):
        by_reason.setdefault(str(error), []).append(shard)
    return "; ".join(
        f"the shard{'s' * (len(shards) > 1)} {', '.join(map(str, shards))}: {reason}"
        for reason, shards in by_reason.items()
    )


def failures(answers: Iterable[object]) -> list[InventoryUnavailable]:
    """The errors among the answers of `ShardClients.each`."""
    return [one for one in answers if isinstance(one, InventoryUnavailable)]


def is_of_one_key(error: Exception) -> bool:
    """A key of the wrong type concerns one shard; a server that loads or is busy refuses everything."""
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def _unchanged(reply: Any, **_: Any) -> Any:
    return reply
