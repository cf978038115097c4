"""The steps that Hypothesis draws for a few events: commands, batches of commands, and changes of the clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from booking.domain.details import Detail, Details, Price, Visibility
from booking.domain.model import Rules
from booking.domain.outcomes import IdempotencyKey
from booking.domain.reference.box_office import REFUSAL_MS
from booking.domain.reference.sale import CAPACITY_STEP

START_MS = 1_800_000_000_000
"""The time at which every example begins."""

SHARDS = 2
EVENTS = (1, 2, 3)
"""1 and 3 share a shard, and so a stream; 3 does not exist at first."""

USERS = ("ann", "bob", "cy", "dee", "g h", "ünal")
ORGANIZER = "ünal & söhne"
"""The user id that creates each event."""

MOMENTS = (-62_135_596_800_000, *range(START_MS - 500, START_MS + 6000, 500), 253_402_300_799_999)
"""From the year 1 to the year 9999, and around the start time."""

STEPS_MAX = 80
TOGETHER_MAX = 12
LIMIT_MAX = 9_007_199_254_740_991
"""The largest limit of a waiting list that JSON can represent exactly."""


@dataclass(frozen=True)
class Book:
    """Books tickets. The caller may act for another user."""

    event_id: int
    user_id: str
    quantity: int
    key: IdempotencyKey | None = None
    caller_id: str | None = None


@dataclass(frozen=True)
class Cancel:
    """Cancels a booking, leaves the waiting list, or gives back a part."""

    event_id: int
    user_id: str
    quantity: int | None = None
    key: IdempotencyKey | None = None
    caller_id: str | None = None
    reason: str = ""
    payment_id: str | None = None


@dataclass(frozen=True)
class CheckOut:
    """Begins the payment of a hold."""

    event_id: int
    user_id: str
    payment_id: str
    key: IdempotencyKey | None = None
    caller_id: str | None = None


@dataclass(frozen=True)
class Confirm:
    """Confirms a hold, or tells of a payment that comes late."""

    event_id: int
    user_id: str
    key: IdempotencyKey | None = None
    caller_id: str | None = None
    payment_id: str | None = None
    late: bool = False


@dataclass(frozen=True)
class Look:
    """Reads an event."""

    event_id: int


@dataclass(frozen=True)
class LookBooking:
    """Reads the caller's own booking."""

    event_id: int
    user_id: str


@dataclass(frozen=True)
class Create:
    """Creates an event."""

    event_id: int
    rules: Rules


@dataclass(frozen=True)
class Change:
    """Changes an event's rules."""

    event_id: int
    rules: Mapping[str, Detail]


@dataclass(frozen=True)
class Pass:
    """Moves the clock forwards or backwards."""

    milliseconds: int


@dataclass(frozen=True)
class Due:
    """Asks for a shard's events with expired holds, as the sweeper does."""

    shard: int


Command = Due | Book | Cancel | CheckOut | Confirm | Look | LookBooking | Create | Change


@dataclass(frozen=True)
class Together:
    """Commands that wait at the same time. They share one exchange, and adjacent ones of one kind share a call."""

    commands: tuple[Command, ...]


Step = Command | Together | Pass


@dataclass(frozen=True)
class Scenario:
    """The rules of the first events, and then any steps."""

    rules: tuple[Rules, ...]
    steps: list[Step]


def weighted(*choices: tuple[int, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Draws one of several strategies, each as often as its weight says. `one_of` would ignore repetitions."""
    return st.sampled_from([strategy for weight, strategy in choices for _ in range(weight)]).flatmap(lambda s: s)


events = st.sampled_from((1, 1, 1, 1, 1, 1, 1, 2, 2, 3))
users = st.sampled_from(USERS)
quantities = st.sampled_from((1, 1, 1, 1, 2, 2, 3, 4, 6))
keys = weighted((2, st.none()), (1, st.builds(IdempotencyKey, st.sampled_from("KL"), st.sampled_from("rst"))))
capacities = st.sampled_from((1, 2, 3, 3, 4, 5, 6, 8, 12, 99, 100))
names = st.sampled_from(("A", "B", "two words", "Ω 5 6 7"))
limits = st.sampled_from((None, None, None, None, None, 0, 1, 2, 4, 8, LIMIT_MAX))
most_per_user = st.sampled_from((4, 4, 4, 4, 4, 1, 2, 3, 100))
moments = weighted((8, st.none()), (1, st.sampled_from(MOMENTS)))

texts = st.sampled_from((None, 'a "quoted" line\nand {"another": 1},\n', "ünï 🎟", '"venue":"x",', "\u2028,"))
prices = st.sampled_from((None, Price(0, "EUR"), Price(LIMIT_MAX, "JPY")))
# Mostly listed: of an archived event nothing can be booked.
visibilities = st.sampled_from((*(Visibility.LISTED,) * 18, Visibility.UNLISTED, Visibility.ARCHIVED))
hold_lengths = st.sampled_from((0, 0, 1, 1, 1, 2, 86_400))
dates = st.sampled_from((None, *MOMENTS))
details = {
    "description": texts,
    "venue": texts,
    "starts_at_ms": dates,
    "ends_at_ms": dates,
    "time_zone": st.sampled_from((None, "Europe/Berlin")),
    "price": prices,
    "visibility": visibilities,
    "payment_url": st.sampled_from(
        (*(None,) * 5, "https://shop.example/{event_id}/{user_id}/{payment_id}?s={signature}")
    ),
}
starting = {**details, "ends_at_ms": st.none(), "payment_seconds": st.sampled_from((60, 900, 3_600))}
all_details = weighted((6, st.just(Details())), (1, st.builds(Details, **starting)))

all_rules = st.builds(
    Rules,
    name=names,
    capacity=capacities,
    max_per_user=most_per_user,
    hold_seconds=hold_lengths,
    waitlist_limit=limits,
    opens_at_ms=moments,
    closes_at_ms=moments,
    details=all_details,
)
changed_rules = {
    "name": names,
    "capacity": weighted((11, capacities), (1, st.just(3 * CAPACITY_STEP))),
    "opens_at": moments,
    "closes_at": moments,
    "paused": st.sampled_from((0, 0, 0, 1)),
    "waitlist_limit": limits,
    "max_per_user": most_per_user,
    "hold_seconds": hold_lengths,
}
changed_details = st.fixed_dictionaries(
    {}, optional={**details, "payment_seconds": st.sampled_from((None, 60, 900, 3_600))}
).filter(bool)
changes = st.fixed_dictionaries({}, optional=changed_rules).filter(bool)
one_change = st.one_of([st.fixed_dictionaries({name: values}) for name, values in changed_rules.items()])
growth = capacities.map(lambda capacity: {"capacity": capacity})

callers = weighted((9, st.none()), (1, users))
parts = weighted((3, st.none()), (1, quantities))
reasons = st.sampled_from(("", "", "sold twice"))
books = st.builds(Book, events, users, quantities, keys, callers)
payments = st.sampled_from("pqr")
"""Few, so that later steps name earlier ones. A user's ids may repeat, which random ones never do."""
named = weighted((2, st.none()), (3, payments))
released = weighted((9, st.none()), (1, payments))
cancels = st.builds(Cancel, events, users, parts, keys, weighted((3, st.none()), (1, users)), reasons, released)
checkouts = st.builds(CheckOut, events, users, payments, keys, callers)
confirms = st.builds(Confirm, events, users, keys, callers, named, st.sampled_from((False, False, True)))
looks = st.builds(Look, events)
own_looks = st.builds(LookBooking, events, users)
dues = st.builds(Due, st.sampled_from((1, 1, 0)))
commands = weighted((12, books), (6, cancels), (3, checkouts), (6, confirms), (2, looks), (3, own_looks), (2, dues))
together = weighted(
    # Adjacent commands of one kind, which the batcher puts into one call, and a mixture, which it does not.
    *(
        (1, st.lists(kind, min_size=2, max_size=TOGETHER_MAX))
        for kind in (books, cancels, checkouts, confirms, looks | own_looks)
    ),
    (2, st.lists(weighted((9, commands), (1, st.builds(Change, events, growth))), min_size=2, max_size=TOGETHER_MAX)),
).map(lambda drawn: Together(tuple(drawn)))
times = st.sampled_from((500, 500, 500, 1000, 1000, 1000, 1000, 2000, 5000, 1, 999, -500, REFUSAL_MS)).map(Pass)
steps: st.SearchStrategy[Step] = weighted(
    (60, commands),
    (10, together),
    (14, times),
    (4, st.builds(Change, events, one_change)),
    (4, st.builds(Change, events, changes)),
    (1, st.builds(Change, events, changed_details)),
    (1, st.builds(Create, events, all_rules)),
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Mostly long scenarios. A plain `lists` strategy would make short ones, in which no waiting list arises."""
    rules = (draw(all_rules), draw(all_rules))
    return Scenario(rules, [draw(steps) for _ in range(draw(st.integers(0, STEPS_MAX)))])
