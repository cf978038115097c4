"""The reference model of `BoxOffice`: finds the sale, expires its holds, and repeats first answers to used keys."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from booking.domain.changes import ChangeKind
from booking.domain.details import DETAILS, NO_DETAILS, Detail
from booking.domain.model import Event, Rules
from booking.domain.outcomes import FIRST_REFUSAL, EventOutcome, IdempotencyKey, Outcome, Status
from booking.domain.reference.sale import Sale, ends_before_it_starts, is_inverted

RULES = {"opens_at": "opens_at_ms", "closes_at": "closes_at_ms"}
"""The rules whose names in a change differ from the names in `Rules`."""

KEYS_MAX = 64
"""The idempotency keys of a user on an event that count: the last ones, by their first use (contract)."""

CHANGE_MS, REFUSAL_MS = 86_400_000, 600_000
"""How long the first answer to a key is repeated: 24 h after a change, 10 minutes after a refusal (contract)."""

NOT_RECORDED = {Status.SALE_PAUSED, Status.SALE_NOT_OPEN}
"""Refusals that are no answer to a key: the same call later is decided again (contract)."""

Request = tuple[str | int | None, ...]
"""A command, its arguments, and the user it is about. Two requests are equal if all of it is equal."""


class ReferenceBoxOffice:
    """Any number of events. Every command gets the time, in milliseconds since 1970."""

    def __init__(self) -> None:
        self.sales: dict[int, Sale] = {}
        self._answers: dict[tuple[int, str], list[tuple[str, int, Request, Outcome]]] = {}
        """By event and caller: each key with the time of its first use, its request and its answer."""

    def create(self, event_id: int, rules: Rules, organizer_id: str | None = None, *, now_ms: int) -> EventOutcome:
        """Creates an event. A new event is never paused; only a change can pause it."""
        if event_id in self.sales:
            return EventOutcome(Status.EVENT_EXISTS)
        if is_inverted(rules):
            return EventOutcome(Status.WINDOW_INVERTED)
        if ends_before_it_starts(rules.details):
            return EventOutcome(Status.DATES_INVERTED)
        sale = self.sales[event_id] = Sale(event_id, replace(rules, paused=False), now_ms, organizer_id)
        sale.record_rules(ChangeKind.CREATED, now_ms)
        return EventOutcome(Status.CREATED, sale.view(now_ms))

    def change(
        self, event_id: int, rules: Mapping[str, Detail], caller_id: str | None = None, *, now_ms: int
    ) -> EventOutcome:
        """Changes the named rules and details. They have the contract's names; times are milliseconds."""
        sale = self._swept(event_id, now_ms)
        if sale is None:
            return EventOutcome(Status.EVENT_NOT_FOUND)
        named = {RULES.get(name, name): bool(value) if name == "paused" else value for name, value in rules.items()}
        told = {
            name: getattr(NO_DETAILS, name) if (value := named.pop(name)) is None else value
            for name in DETAILS
            if name in named
        }
        changed = replace(sale.rules, details=replace(sale.rules.details, **told), **named)  # type: ignore[arg-type]  # each by its own name
        return sale.change(changed, now_ms, caller_id)

    # The key of each of these commands belongs to the caller, who may act for the user.

    def book(
        self,
        event_id: int,
        user_id: str,
        quantity: int = 1,
        key: IdempotencyKey | None = None,
        caller_id: str | None = None,
        *,
        now_ms: int,
    ) -> Outcome:
        """Gives a user `quantity` tickets (all or none), or a place on the waiting list."""
        caller, request = caller_id or user_id, ("book", quantity, user_id)
        return self._decide(
            event_id, caller, key, request, now_ms, lambda sale: sale.book(user_id, quantity, now_ms, caller)
        )

    def cancel(
        self,
        event_id: int,
        user_id: str,
        quantity: int | None = None,
        key: IdempotencyKey | None = None,
        caller_id: str | None = None,
        reason: str = "",
        payment_id: str | None = None,
        *,
        now_ms: int,
    ) -> Outcome:
        """Cancels a user's live booking, or gives back a part of its tickets. Another caller may have a reason."""
        caller, request = caller_id or user_id, ("cancel", quantity, user_id, reason, payment_id)
        return self._decide(
            event_id,
            caller,
            key,
            request,
            now_ms,
            lambda sale: sale.cancel(user_id, quantity, payment_id, now_ms, caller, reason or None),
        )

    def check_out(
        self,
        event_id: int,
        user_id: str,
        payment_id: str,
        key: IdempotencyKey | None = None,
        caller_id: str | None = None,
        *,
        now_ms: int,
    ) -> Outcome:
        """Begins the payment of a hold. `payment_id` is its id if the hold has none yet."""
        caller, request = caller_id or user_id, ("checkout", user_id)
        return self._decide(
            event_id, caller, key, request, now_ms, lambda sale: sale.check_out(user_id, payment_id, now_ms, caller)
        )

    def confirm(
        self,
        event_id: int,
        user_id: str,
        key: IdempotencyKey | None = None,
        caller_id: str | None = None,
        payment_id: str | None = None,
        late: bool = False,
        *,
        now_ms: int,
    ) -> Outcome:
        """Makes a held booking final, or brings a late payment to its outcome."""
        caller, request = caller_id or user_id, ("confirm", user_id, payment_id, late)
        return self._decide(
            event_id, caller, key, request, now_ms, lambda sale: sale.confirm(user_id, payment_id, late, now_ms, caller)
        )

    def get_event(self, event_id: int, *, now_ms: int) -> Event | None:
        """The event as it is at `now_ms`; None if there is no such event."""
        sale = self._swept(event_id, now_ms)
        return None if sale is None else sale.view(now_ms)

    def get_booking(self, event_id: int, user_id: str, *, now_ms: int) -> Outcome:
        """A user's live booking, with its position if it is waiting."""
        sale = self._swept(event_id, now_ms)
        if sale is None:
            return Outcome(Status.EVENT_NOT_FOUND)
        booking = sale.live(user_id)
        return Outcome(Status.BOOKING_NOT_FOUND) if booking is None else Outcome(Status.FOUND, booking)

    def _swept(self, event_id: int, now_ms: int) -> Sale | None:
        """The event, after its overdue holds have expired; every command does this first."""
        sale = self.sales.get(event_id)
        if sale is not None:
            sale.sweep(now_ms)
        return sale

    def _decide(
        self,
        event_id: int,
        caller_id: str,
        key: IdempotencyKey | None,
        request: Request,
        now_ms: int,
        decide: Callable[[Sale], Outcome],
    ) -> Outcome:
        """Decides a request. If its key was used, repeats the first answer, or refuses a request that differs."""
        sale = self._swept(event_id, now_ms)
        if sale is None:
            return Outcome(Status.EVENT_NOT_FOUND)
        if key is None:
            return decide(sale)
        answers = self._answers.setdefault((event_id, caller_id), [])
        for used, at_ms, first, answer in reversed(answers[-KEYS_MAX:]):
            if used == key.key:
                if _is_outlived(answer, at_ms, now_ms) or (at_ms > now_ms and answer.status >= FIRST_REFUSAL):
                    break
                return answer if first == request else Outcome(Status.IDEMPOTENCY_KEY_REUSED)
        outcome = decide(sale)
        if outcome.status not in NOT_RECORDED:
            answers.append((key.key, now_ms, request, replace(outcome, first_request_id=key.request_id)))
            del answers[:-KEYS_MAX]
            while _is_outlived(answers[0][3], answers[0][1], now_ms):  # for good, also if the clock goes back
                del answers[0]
        return outcome


def _is_outlived(answer: Outcome, at_ms: int, now_ms: int) -> bool:
    """Whether an answer of `at_ms` is repeated no more."""
    return now_ms - at_ms >= (CHANGE_MS if answer.status < FIRST_REFUSAL else REFUSAL_MS)
