"""Verifies the Redis server behind a new connection, before anything is sold over that connection."""

from collections.abc import Mapping

import structlog

from booking.domain.epochs import history_of
from booking.domain.lags import describe_lost
from booking.inventory.errors import ServerUnverified
from booking.inventory.script_connection import Acknowledged, Argument, Execute
from booking.inventory.streams import Positions, run_id, verify_or_fence
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
        self._verified: tuple[str | None, Positions] = (None, {})
        self._renewed: dict[Argument, str] = {}

    async def verify_or_fence(self, execute: Execute, acknowledged: Acknowledged) -> Mapping[Argument, str]:
        """Verifies the server to which `execute` sends its commands. For `ScriptConnection`.

        It also has to have what this process acknowledged, even if SQL does not have it yet. If another server was the
        primary, this one takes over. Returns the epochs to ask by, each by those of earlier terms.

        Raises ServerUnverified if the database is needed and away, InventoryUnavailable if Redis refuses.
        """
        server = await run_id(execute)
        positions: Positions
        try:
            records, found = await take_terms(execute, self._ledger, server, acknowledged, DATABASE_SECONDS_MAX)
            positions = positions_of(records)
        except LedgerError as error:
            verified, positions = self._verified
            if server is None or server != verified:
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
        for shard, (before, _) in self._verified[1].items():
            now = positions[shard][0]
            if before != now and history_of(before) == history_of(now):
                self._renewed = {
                    **{old: now if new == before else new for old, new in self._renewed.items()},
                    before: now,
                }
        self._verified = server, positions
        return self._renewed
