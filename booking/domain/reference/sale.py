"""One event in the reference model: its rules, bookings and waiting list, and the commands that change them."""

from dataclasses import dataclass, field, replace

from booking.domain.changes import BookingChange, Change, ChangeKind, EventChange
from booking.domain.details import Details, Visibility
from booking.domain.model import PAYMENTS_MAX, Booking, BookingStatus, Event, Payment, PaymentOutcome, Rules, Source
from booking.domain.outcomes import EventOutcome, Outcome, Status

CONFIRMED, HELD, WAITING = BookingStatus.CONFIRMED, BookingStatus.HELD, BookingStatus.WAITING
CANCELLED, EXPIRED = BookingStatus.CANCELLED, BookingStatus.EXPIRED

EXPIRY_STEP = 150
"""Tickets that expire before the freed ones are promoted. Very many overdue holds take several atomic steps."""

CLOCK = ""
"""The actor of what no call caused."""

CAPACITY_STEP = 800
"""Tickets added in one change while users wait. A larger change takes several atomic steps."""


def is_inverted(rules: Rules) -> bool:
    """Whether the sale would close before it opens, or at the same time."""
    return rules.opens_at_ms is not None and rules.closes_at_ms is not None and rules.opens_at_ms >= rules.closes_at_ms


def ends_before_it_starts(details: Details) -> bool:
    """Whether the event would end before it starts."""
    return (
        details.starts_at_ms is not None
        and details.ends_at_ms is not None
        and details.ends_at_ms < details.starts_at_ms
    )


@dataclass(slots=True)
class Sale:
    """An event. Before any other method with `now_ms`, call `sweep` with it."""

    id: int
    rules: Rules
    created_at_ms: int
    organizer_id: str | None = None
    seq: int = 0
    bookings: dict[str, Booking] = field(default_factory=dict)
    """By user: live bookings, and expired holds of users who have not booked again."""
    waiting: list[str] = field(default_factory=list)
    """The waiting users, in the order in which they joined."""
    payments: dict[str, list[Payment]] = field(default_factory=dict)
    """By user: the last payments that they have begun, in that order."""
    changes: list[Change] = field(default_factory=list)

    def tickets(self, status: BookingStatus) -> int:
        """The number of tickets of all bookings with this status."""
        return sum(booking.quantity for booking in self.bookings.values() if booking.status is status)

    def count(self, status: BookingStatus) -> int:
        """The number of bookings with this status."""
        return sum(1 for booking in self.bookings.values() if booking.status is status)

    @property
    def tickets_taken(self) -> int:
        """Tickets sold and held; the capacity cannot be smaller."""
        return self.tickets(CONFIRMED) + self.tickets(HELD)

    @property
    def available(self) -> int:
        """Tickets that are neither sold nor held."""
        return self.rules.capacity - self.tickets_taken

    def hold_ends(self) -> list[tuple[int, str]]:
        """The end of each hold, in milliseconds, and its user."""
        held = [booking for booking in self.bookings.values() if booking.expires_at_ms is not None]
        return [(booking.expires_at_ms or 0, booking.user_id) for booking in held]

    def live(self, user_id: str) -> Booking | None:
        """A user's live booking, with its position if it is waiting; None if there is none."""
        booking = self.bookings.get(user_id)
        if booking is None or booking.status is EXPIRED:
            return None
        return replace(booking, position=self.waiting.index(user_id) + 1) if booking.status is WAITING else booking

    def view(self, now_ms: int) -> Event:
        """The event with its counters, as of `now_ms`."""
        return Event(
            id=self.id,
            rules=self.rules,
            available=self.available,
            tickets_sold=self.tickets(CONFIRMED),
            tickets_held=self.tickets(HELD),
            bookings_count=self.count(CONFIRMED),
            held_count=self.count(HELD),
            waiting_count=self.count(WAITING),
            waiting_tickets=self.tickets(WAITING),
            seq=self.seq,
            created_at_ms=self.created_at_ms,
            now_ms=now_ms,
            organizer_id=self.organizer_id,
        )

    def sweep(self, now_ms: int) -> None:
        """Expires the holds that have ended, in the order of their ends, and promotes with their tickets."""
        freed = 0
        for _, user_id in sorted(end for end in self.hold_ends() if end[0] <= now_ms):
            expired = replace(self.bookings[user_id], status=EXPIRED, expires_at_ms=None)
            self._put(ChangeKind.EXPIRED, expired, now_ms, CLOCK)
            freed += expired.quantity
            if freed >= EXPIRY_STEP:
                self._promote(now_ms, CLOCK)
                freed = 0
        if freed:
            self._promote(now_ms, CLOCK)

    def book(self, user_id: str, quantity: int, now_ms: int, actor: str) -> Outcome:
        """Gives `quantity` tickets to a user, all or nothing, or a place on the waiting list."""
        rules, had = self.rules, self.live(user_id)
        if had is not None:
            return Outcome(Status.ALREADY_WAITING if had.status is WAITING else Status.ALREADY_BOOKED, had)
        if rules.details.visibility is Visibility.ARCHIVED:
            return Outcome(Status.SALE_CLOSED)
        if rules.paused:
            return Outcome(Status.SALE_PAUSED)
        if rules.opens_at_ms is not None and now_ms < rules.opens_at_ms:
            return Outcome(Status.SALE_NOT_OPEN, opens_at_ms=rules.opens_at_ms, now_ms=now_ms)
        if rules.closes_at_ms is not None and now_ms >= rules.closes_at_ms:
            return Outcome(Status.SALE_CLOSED)
        if quantity > rules.max_per_user or quantity > rules.capacity:
            return Outcome(Status.QUANTITY_OVER_LIMIT)
        booking = Booking(self.id, self.seq + 1, user_id, quantity, WAITING, Source.SALE, now_ms)
        if not self.waiting and quantity <= self.available:
            booking = self._with_tickets(booking, rules.hold_seconds, now_ms)
            status, kind = (Status.HELD, ChangeKind.HELD) if rules.hold_seconds else (Status.BOOKED, ChangeKind.BOOKED)
            self._put(kind, booking, now_ms, actor)
            return Outcome(status, booking)
        if rules.waitlist_limit == 0:
            return Outcome(Status.SOLD_OUT)
        if rules.waitlist_limit is not None and self.tickets(WAITING) + quantity > rules.waitlist_limit:
            return Outcome(Status.WAITLIST_FULL)
        self.waiting.append(user_id)
        self._put(ChangeKind.JOINED, booking, now_ms, actor)
        return Outcome(Status.JOINED, self.live(user_id))

    def cancel(
        self,
        user_id: str,
        quantity: int | None,
        payment_id: str | None,
        now_ms: int,
        actor: str,
        reason: str | None = None,
    ) -> Outcome:
        """Cancels a user's live booking, or gives back `quantity` of its tickets if it has more than that.

        With a `payment_id` it releases only the hold that this payment was begun for. Then it promotes: tickets may be
        free, and the head may have left or may have become smaller. The actor of both is the caller. A reason is
        recorded if the caller is not the booking's own user.
        """
        booking = self.bookings.get(user_id)
        if booking is None or booking.status is EXPIRED:
            return Outcome(Status.BOOKING_NOT_FOUND)
        if payment_id is not None and (booking.status is not HELD or booking.payment_id != payment_id):
            return Outcome(Status.BOOKING_NOT_FOUND)
        payment = self._find_payment(user_id, booking.payment_id)
        if quantity is not None and quantity < booking.quantity:
            rest = replace(booking, quantity=booking.quantity - quantity)
            if payment is not None and payment.outcome is None:
                self._remember(payment, replace(payment, quantity=rest.quantity))
            self._put(ChangeKind.REDUCED, rest, now_ms, actor, None if actor == user_id else reason, quantity)
            self._promote(now_ms, actor)
            return Outcome(Status.REDUCED, self.live(user_id))
        if payment is not None and payment.outcome is None:
            self._remember(payment, replace(payment, was_cancelled=True))
        waited = booking.status is WAITING
        kind = ChangeKind.LEFT if waited else ChangeKind.CANCELLED
        booking = self._remove(kind, user_id, now_ms, actor, None if actor == user_id else reason)
        self._promote(now_ms, actor)
        return Outcome(Status.LEFT if waited else Status.CANCELLED, booking)

    def check_out(self, user_id: str, payment_id: str, now_ms: int, actor: str) -> Outcome:
        """Begins the payment of a hold: extends the hold once, and gives it the payment's id."""
        booking = self.bookings.get(user_id)
        if booking is None:
            return Outcome(Status.BOOKING_NOT_FOUND)
        if booking.status is EXPIRED:
            return Outcome(Status.HOLD_EXPIRED)
        if booking.status is WAITING:
            return Outcome(Status.STILL_WAITING)
        if booking.status is HELD and booking.payment_id is None:
            expires_at_ms = max(booking.expires_at_ms or 0, now_ms + 1000 * self.rules.details.payment_seconds)
            booking = replace(booking, payment_id=payment_id, expires_at_ms=expires_at_ms)
            self._put(ChangeKind.CHECKOUT, booking, now_ms, actor)
            self._remember(None, self._payment(payment_id, booking))
        template = self.rules.details.payment_url if booking.status is HELD else None
        return Outcome(Status.CHECKED_OUT, booking, payment_url=template)

    def confirm(self, user_id: str, payment_id: str | None, late: bool, now_ms: int, actor: str) -> Outcome:
        """Makes a held booking final. If it is `late`, a payment for a hold that has ended comes to its outcome.

        If the event has a link to pay at, this takes an actor who knows of the payment, and not the user.
        """
        booking = self.bookings.get(user_id)
        must_be_paid = actor == user_id and self.rules.details.payment_url is not None
        is_live = booking is not None and booking.status is not EXPIRED
        if booking is not None and is_live and payment_id in (None, booking.payment_id):
            if booking.status is WAITING:
                return Outcome(Status.STILL_WAITING)
            if booking.status is HELD:
                return Outcome(Status.PAYMENT_REQUIRED) if must_be_paid else self._confirm(booking, now_ms, actor)
            return Outcome(Status.CONFIRMED, booking)
        if late:
            payment = self._find_payment(user_id, payment_id)
            if payment_id is None and booking is not None:  # of the hold that has expired
                own_id = booking.payment_id or f"{self.id}-{booking.number}"
                payment = self._find_payment(user_id, own_id) or self._payment(own_id, booking)
            if payment is not None:
                return Outcome(Status.PAYMENT_REQUIRED) if must_be_paid else self._settle(payment, now_ms, actor)
        if booking is None:
            return Outcome(Status.BOOKING_NOT_FOUND)
        if payment_id not in (None, booking.payment_id):
            return Outcome(Status.PAYMENT_MISMATCH)
        return Outcome(Status.HOLD_EXPIRED)

    def _confirm(self, booking: Booking, now_ms: int, actor: str) -> Outcome:
        booking = replace(booking, status=CONFIRMED, expires_at_ms=None)
        self._put(ChangeKind.CONFIRMED, booking, now_ms, actor)
        payment = self._find_payment(booking.user_id, booking.payment_id)
        if payment is not None:
            self._remember(payment, replace(payment, outcome=PaymentOutcome.BOOKING))
        return Outcome(Status.CONFIRMED, booking)

    def _settle(self, payment: Payment, now_ms: int, actor: str) -> Outcome:
        """A payment for a hold that has ended comes to a booking or to a refund, once and for all.

        The tickets must be free, nobody may wait who would be overtaken, and the user may have no other live booking.
        """
        if payment.outcome is PaymentOutcome.BOOKING:  # which was cancelled later
            return Outcome(Status.BOOKING_NOT_FOUND)
        if payment.outcome is PaymentOutcome.REFUND_DUE:
            return Outcome(Status.REFUND_DUE)
        before = self.bookings.get(payment.user_id)
        is_free = not self.waiting and payment.quantity <= self.available
        if is_free and (before is None or before.status is EXPIRED):
            booking = Booking(
                self.id,
                self.seq + 1,
                payment.user_id,
                payment.quantity,
                CONFIRMED,
                Source.SALE,
                now_ms,
                payment_id=payment.id,
            )
            self._put(ChangeKind.BOOKED, booking, now_ms, actor)
            self._remember(payment, replace(payment, outcome=PaymentOutcome.BOOKING, was_cancelled=False))
            return Outcome(Status.CONFIRMED, booking)
        ended = Booking(
            self.id,
            payment.number,
            payment.user_id,
            payment.quantity,
            CANCELLED if payment.was_cancelled else EXPIRED,
            payment.source,
            payment.created_at_ms,
            payment_id=payment.id,
        )
        self._record(ChangeKind.REFUND_DUE, ended, now_ms, actor)
        self._remember(payment, replace(payment, outcome=PaymentOutcome.REFUND_DUE, was_cancelled=False))
        return Outcome(Status.REFUND_DUE)

    def _payment(self, payment_id: str, booking: Booking) -> Payment:
        """A payment that is begun for a hold."""
        return Payment(
            payment_id, booking.user_id, booking.number, booking.quantity, booking.created_at_ms, booking.source
        )

    def change(self, rules: Rules, now_ms: int, actor: str | None = None) -> EventOutcome:
        """Replaces the event's rules; equal rules are no change. `actor` is the caller."""
        if is_inverted(rules):
            return EventOutcome(Status.WINDOW_INVERTED)
        if ends_before_it_starts(rules.details):
            return EventOutcome(Status.DATES_INVERTED)
        if rules.capacity < self.tickets_taken:
            return EventOutcome(Status.CAPACITY_BELOW_SOLD, tickets_taken=self.tickets_taken)
        while self.waiting and rules.capacity > self.rules.capacity + CAPACITY_STEP:
            self._apply(replace(rules, capacity=self.rules.capacity + CAPACITY_STEP), now_ms, actor)
        if rules != self.rules:
            self._apply(rules, now_ms, actor)
        return EventOutcome(Status.CHANGED, self.view(now_ms))

    def record_rules(self, kind: ChangeKind, now_ms: int, actor: str | None = None) -> None:
        """Appends a change of the event itself, with its rules after the change."""
        self.seq += 1
        organizer_id = self.organizer_id if kind is ChangeKind.CREATED else None
        self.changes.append(EventChange(self.id, self.seq, kind, now_ms, self.rules, organizer_id, actor))

    def _apply(self, rules: Rules, now_ms: int, actor: str | None) -> None:
        """Sets the rules, removes users who wait for more tickets than the capacity, and promotes."""
        self.rules = rules
        self.record_rules(ChangeKind.CHANGED, now_ms, actor)
        for user_id in [user for user in self.waiting if self.bookings[user].quantity > rules.capacity]:
            self._remove(ChangeKind.LEFT, user_id, now_ms, actor or CLOCK)
        self._promote(now_ms, actor or CLOCK)

    def _promote(self, now_ms: int, actor: str) -> None:
        """Gives free tickets to the head of the waiting list, until the head does not fit.

        The actor is the one whose call freed them.
        """
        while self.waiting and self.bookings[self.waiting[0]].quantity <= self.available:
            booking = self._with_tickets(self.bookings[self.waiting.pop(0)], self.rules.offer_seconds, now_ms)
            self._put(ChangeKind.PROMOTED, replace(booking, source=Source.WAITLIST), now_ms, actor)

    def _with_tickets(self, booking: Booking, hold_seconds: int, now_ms: int) -> Booking:
        """The booking as a hold that begins now, or as a confirmed one if such holds have no length."""
        if hold_seconds:
            return replace(booking, status=HELD, expires_at_ms=now_ms + 1000 * hold_seconds)
        return replace(booking, status=CONFIRMED)

    def _find_payment(self, user_id: str, payment_id: str | None) -> Payment | None:
        """A payment that a user has begun, if it is remembered; of several with one id the last."""
        mine = self.payments.get(user_id, [])
        return next((payment for payment in reversed(mine) if payment.id == payment_id), None)

    def _remember(self, was: Payment | None, payment: Payment) -> None:
        """Stores a payment in place of what it was, or as its user's last one."""
        mine = self.payments.setdefault(payment.user_id, [])
        if was in mine:
            mine[len(mine) - 1 - mine[::-1].index(was)] = payment
        else:
            mine.append(payment)
            del mine[:-PAYMENTS_MAX]

    def _remove(self, kind: ChangeKind, user_id: str, now_ms: int, actor: str, reason: str | None = None) -> Booking:
        booking = replace(self.bookings[user_id], status=CANCELLED, expires_at_ms=None)
        self._put(kind, booking, now_ms, actor, reason)
        del self.bookings[user_id]
        if user_id in self.waiting:
            self.waiting.remove(user_id)
        return booking

    def _put(
        self,
        kind: ChangeKind,
        booking: Booking,
        now_ms: int,
        actor: str,
        reason: str | None = None,
        given_back: int = 0,
    ) -> None:
        """Stores a booking as its user's last one, and appends the change."""
        self.bookings[booking.user_id] = booking
        self._record(kind, booking, now_ms, actor, reason, given_back)

    def _record(
        self,
        kind: ChangeKind,
        booking: Booking,
        now_ms: int,
        actor: str,
        reason: str | None = None,
        given_back: int = 0,
    ) -> None:
        """Appends a change of a booking."""
        self.seq += 1
        self.changes.append(
            BookingChange(
                event_id=self.id,
                seq=self.seq,
                kind=kind,
                at_ms=now_ms,
                number=booking.number,
                user_id=booking.user_id,
                quantity=booking.quantity,
                status=booking.status,
                source=booking.source,
                created_at_ms=booking.created_at_ms,
                expires_at_ms=booking.expires_at_ms,
                actor=None if actor == booking.user_id else actor,
                reason=reason,
                payment_id=booking.payment_id,
                given_back=given_back,
            )
        )
