"""Scenarios of holds that are paid for: in time, late, again, for a part, and by a shop for its buyers.

Commands drawn one by one would seldom make a payment that comes after its hold's end. So each user gets a story, some
of whose steps may be missing, and the stories are interleaved.
"""

from dataclasses import replace

from hypothesis import strategies as st

from booking.domain.details import Details
from booking.domain.model import Rules
from tests.model.steps import Book, Cancel, Change, CheckOut, Confirm, LookBooking, Pass, Scenario, Step, Together

PAYERS = ("ann", "bob", "cy", "dee")
PAYMENT_MS = 60_000

_offers = st.sampled_from((None, None, 0, 1, 3))
_quantities = st.sampled_from((1, 1, 2, 3))
_callers = st.sampled_from((None, None, None, "shop"))
_pauses = st.sampled_from((500, 1_000, 2_000, PAYMENT_MS, PAYMENT_MS)).map(Pass)
_rules = st.builds(
    Rules,
    st.just("A"),
    st.sampled_from((1, 2, 3, 3, 4)),
    max_per_user=st.just(4),
    hold_seconds=st.sampled_from((0, 1, 2, 2, 2)),
    waitlist_limit=st.sampled_from((None, None, None, 0)),
)


@st.composite
def stories(draw: st.DrawFn, user: str) -> list[Step]:
    """What one user does, or a shop for them."""

    def at_times(step: Step) -> list[Step]:
        return [step] if draw(st.booleans()) else []

    caller, payment = draw(_callers), draw(st.sampled_from("ppq"))
    late = Confirm(1, user, None, caller, draw(st.sampled_from((payment, payment, None, "other"))), late=True)
    ends: list[list[Step]] = [
        [Pass(PAYMENT_MS)],
        [Cancel(1, user, caller_id=caller)],
        [Cancel(1, user, payment_id=payment)],
        [Confirm(1, user, None, caller, draw(st.sampled_from((payment, None, "other"))))],
        [],
    ]
    return [
        Book(1, user, draw(_quantities), None, caller),
        CheckOut(1, user, payment, None, caller),
        *at_times(Pass(1_000)),
        *at_times(CheckOut(1, user, "other")),
        *at_times(Cancel(1, user, draw(st.sampled_from((1, 1, 2))))),
        *draw(st.sampled_from(ends)),
        *at_times(Book(1, user, draw(_quantities))),
        late,
        *at_times(Together((late, LookBooking(1, user), late))),
        *at_times(Cancel(1, user, payment_id=payment)),
        *at_times(Cancel(1, user)),
        *at_times(late),
    ]


@st.composite
def paid_scenarios(draw: st.DrawFn) -> Scenario:
    """The users' stories, in any order of their steps."""
    link = draw(st.sampled_from((*(None,) * 5, "https://pay.example")))  # with one, only the shop confirms
    details = Details(offer_seconds=draw(_offers), payment_seconds=PAYMENT_MS // 1000, payment_url=link)
    left = [draw(stories(user)) for user in PAYERS for _ in range(draw(st.integers(1, 2)))]
    steps: list[Step] = []
    while left:
        story = left[draw(st.integers(0, len(left) - 1))]
        steps.append(story.pop(0))
        left = [one for one in left if one]
        if draw(st.integers(0, 9)) == 0:
            steps.append(draw(_pauses))
        if draw(st.integers(0, 19)) == 0:
            steps.append(Change(1, {"capacity": draw(st.integers(1, 4))}))
    return Scenario((replace(draw(_rules), details=details),), steps)


paid_sales: st.SearchStrategy[Scenario] = paid_scenarios()
