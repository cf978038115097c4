"""The feed of an event's changes, from the database, for its organizer: a page at once, or when there is a change."""

import asyncio
from collections.abc import Callable

from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope

from booking.domain.changes import Change
from booking.inventory.box_office import BoxOffice
from booking.ledger.errors import LedgerError
from booking.ledger.ledger import Ledger
from booking.web.authentication import Credentials
from booking.web.endpoints.live import Places
from booking.web.local_limits import LocalBuckets
from booking.web.organizers import require_organizer, require_owner
from booking.web.password_limits import address_of
from booking.web.problems import Fault, Problem, invalid
from booking.web.request_schemas import INTEGER_MAX
from booking.web.requests import ClientGone, read_event_id, until_disconnected
from booking.web.responses import PlainResponse, change_data, success
from booking.web.shared_work import SharedWork

LIMIT_DEFAULT, LIMIT_MAX = 100, 1_000
"""Changes in a page (contract)."""

WAIT_SECONDS_MAX = 25
"""How long a call may wait for a change (contract)."""

PERIOD_SECONDS = 0.2
"""The interval at which the database is asked for all who wait. The persister commits as often."""

WAITERS_MAX = 1_000
"""Calls that may wait in one worker; one more gets the error `overloaded`."""


class ChangeWatch:
    """Waits for changes in the database. All waiting calls share one question, and hold no connection."""

    def __init__(self, ledger: Ledger, is_stopping: Callable[[], bool]) -> None:
        self._ledger = ledger
        self._is_stopping = is_stopping
        self._waiting: dict[int, dict[asyncio.Future[None], int]] = {}
        """By event: what waits for a change, and for one with a `seq` above which."""
        self._task: asyncio.Task[None] | None = None

    async def wait(self, receive: Receive, event_id: int, after: int, seconds: float) -> None:
        """Returns when the event has a change after `after`, after `seconds`, or when the server stops.

        Raises ClientGone, LedgerUnavailable.
        """
        changed = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(event_id, {})[changed] = after
        if self._task is None:
            self._task = asyncio.create_task(self._watch(), name="changes")
        gone = asyncio.ensure_future(until_disconnected(receive))
        try:
            await asyncio.wait((changed, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if changed.done():
                changed.result()
            elif gone.done():
                raise ClientGone
        finally:
            gone.cancel()
            del self._waiting[event_id][changed]
            if not self._waiting[event_id]:
                del self._waiting[event_id]

    async def close(self) -> None:
        """Ends the task that asks."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        try:
            while self._waiting:
                await self._look()
                await asyncio.sleep(PERIOD_SECONDS)
        finally:
            self._task = None

    async def _look(self) -> None:
        error: LedgerError | None = None
        seqs: dict[int, int] = {}
        is_stopping = self._is_stopping()
        if not is_stopping:
            try:
                seqs = await self._ledger.seqs(list(self._waiting))
            except LedgerError as unavailable:
                error = unavailable
        for event_id, waiting in self._waiting.items():
            for changed, after in waiting.items():
                if changed.done():
                    continue
                if error is not None:
                    changed.set_exception(error)
                elif is_stopping or seqs.get(event_id, 0) > after:
                    changed.set_result(None)


class ChangeEndpoint:
    """`GET /events/{event_id}/changes`."""

    def __init__(
        self,
        credentials: Credentials,
        office: BoxOffice,
        ledger: Ledger,
        reads: LocalBuckets,
        watch: ChangeWatch,
        work: SharedWork,
        places: Places,
    ) -> None:
        self._credentials = credentials
        self._office = office
        self._ledger = ledger
        self._reads = reads
        self._watch = watch
        self._work = work
        self._places = places

    async def changes(self, scope: Scope, receive: Receive) -> PlainResponse:
        """The changes after `after`, oldest first. If there are none, waits for up to `wait` seconds for one."""
        caller = await require_organizer(self._credentials, scope)
        self._reads.charge(caller.user_id)
        event_id = read_event_id(scope)
        # A new event may be in Redis alone. One that the database has is told of even if Redis is away.
        event = await self._ledger.event(event_id) or await self._office.get_event(event_id)
        require_owner(caller, event)
        after, limit, wait = _read_query(scope)
        if event is None:
            raise Problem("event_not_found")
        found = await self._page(receive, event_id, after, limit)
        if not found and wait:
            with self._places.take(address_of(scope), caller.user_id):
                await self._watch.wait(receive, event_id, after, wait)
            found = await self._page(receive, event_id, after, limit)
        data = [change_data(change) for change in found[:limit]]
        return PlainResponse(200, success("Fetched changes", data, has_more=len(found) > limit))

    async def _page(self, receive: Receive, event_id: int, after: int, limit: int) -> list[Change]:
        """Up to one change more than `limit`. A worker reads one page at a time, once for all who ask for it."""
        question = ("changes", event_id, after, limit)
        return await self._work.answer(receive, question, lambda _: self._ledger.changes(event_id, after, limit + 1))


def _read_query(scope: Scope) -> tuple[int, int, int]:
    """`after`, `limit` and `wait`. Raises Problem with all their faults."""
    query, faults, values = QueryParams(scope["query_string"]), list[Fault](), list[int]()
    for name, default, least, most in (
        ("after", 0, 0, INTEGER_MAX),
        ("limit", LIMIT_DEFAULT, 1, LIMIT_MAX),
        ("wait", 0, 0, WAIT_SECONDS_MAX),
    ):
        text = query.get(name, str(default))
        if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most:
            values.append(int(text))
        else:
            faults.append(Fault(f"?{name}", f"{name} has to be a whole number from {least} to {most}."))
    if faults:
        raise invalid(*faults)
    after, limit, wait = values
    return after, limit, wait
