"""Verifies the Redis server behind a new connection, before anything is sold over that connection."""

from collections.abc import Callable, Collection, Mapping

import structlog

from booking.domain.epochs import is_later
from booking.domain.lags import describe_lost
from booking.inventory.durability import Durability
from booking.inventory.errors import ServerUnverified
from booking.inventory.raw_connection import Argument
from booking.inventory.script_connection import Acknowledged, Execute, ScriptConnection
from booking.inventory.scripts import all_scripts
from booking.inventory.streams import Positions, run_id, verify_or_fence
from booking.inventory.topology import Topology
from booking.ledger.errors import LedgerError
from booking.ledger.ledger import Ledger
from booking.persister.bootstrap import positions_of
from booking.persister.terms import take_terms

DATABASE_SECONDS_MAX = 0.5
"""How long SQL may take. The check and the batch behind it share `script_connection.ANSWER_SECONDS_MAX`."""

LOST = (
    "Redis has lost changes that were acknowledged and that the database may not have; nothing is sold from these "
    "shards until `booking restore`"
)

log = structlog.get_logger()


class Verifier:
    """Compares a server with the database, and fences the shards that lack changes.

    It keeps the positions that it verified last. While the database is away, a server is compared with these if it is
    the same process (by its `run_id`). Another server is not sold from until the database is back.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._verified: dict[str | None, Positions] = {}
        """By the `run_id` of a server: the positions of the shards that it has."""
        self._renewed: dict[Argument, str] = {}
        self._newest: dict[int, str] = {}
        """Each shard's epoch, as far as this process knows."""

    async def verify_or_fence(
        self, execute: Execute, acknowledged: Acknowledged, shards: Collection[int]
    ) -> Mapping[Argument, str]:
        """Verifies the server to which `execute` sends its commands, and which has these shards.

        It also has to have what this process acknowledged, even if SQL does not have it yet. If another server was the
        primary, this one takes over. Returns the epochs to ask by, each by those of earlier terms.

        Raises ServerUnverified if the database is needed and away, InventoryUnavailable if Redis refuses.
        """
        server = await run_id(execute)
        positions: Positions
        try:
            records, found = await take_terms(execute, self._ledger, shards, server, acknowledged, DATABASE_SECONDS_MAX)
            positions = positions_of(records)
        except LedgerError as error:
            positions = self._verified.get(server, {})
            if server is None or not positions.keys() >= set(shards):
                raise ServerUnverified(
                    f"the database is away ({error}), and a new connection to Redis has to be compared with it"
                ) from None
            log.warning(
                "the database is away: the same Redis as before is compared with what was verified last",
                reason=str(error),
            )
            found = await verify_or_fence(execute, positions, acknowledged)
        if lost := [describe_lost(shard, text) for shard, text in found.items() if text]:
            log.error(LOST, lost=lost)
        self.use_epochs({shard: epoch for shard, (epoch, _) in positions.items()})
        self._verified[server] = positions
        return self._renewed

    def use_epochs(self, epochs: Mapping[int, str]) -> None:
        """Calls that were prepared with earlier terms' epochs are sent with these. Never the other way round: a server
        that another one took over from would sell on.
        """
        for shard, now in epochs.items():
            before = self._newest.get(shard, now)
            if is_later(before, now):
                continue
            if is_later(now, before):
                self._renewed |= {old: now for old, new in self._renewed.items() if new == before} | {before: now}
            self._newest[shard] = now


def verified_connections(
    topology: Topology, verifier: Verifier, durability: Durability
) -> Callable[[str], ScriptConnection]:
    """Makes a process's connections to the primaries, for `PrimaryBatchers`; each is verified before it sells."""
    acknowledged: dict[Argument, tuple[Argument, bytes]] = {}

    def connect(address: str) -> ScriptConnection:
        return ScriptConnection(
            address,
            all_scripts(),
            lambda execute, newest: verifier.verify_or_fence(execute, newest, topology.shards_at(address)),
            durability,
            acknowledged,
        )

    return connect
