"""What a load test is going to do: decided before it starts, the same for the same seed, told to every process."""

from dataclasses import dataclass
from random import Random
from urllib.parse import SplitResult, urlsplit

BUYERS_MAX = 1_000_000
CONNECTIONS_MAX = 1_024
"""Connections of a whole run; open-loop arrivals open more of them when all are busy, up to this."""
PROCESSES_MAX = 64
RATE_MAX = 1_000_000
SECONDS_MAX = 86_400

READ_SILENCE_SECONDS_MAX = 10.0
"""The reading after the sale ends once no buyer's booking could be read for this long: a worker starts within it."""

AGAIN_SHARE = 0.01
"""Buyers who press the button twice at once; without them no double booking could show."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One sale. `rate` is in requests a second for the whole run (None: closed loop); times are in seconds."""

    url: str
    event_id: int
    tickets: int
    buyers: int
    cancel_share: float
    status_share: float
    """Status reads for each booking asked for."""
    quantity_max: int
    connections: int
    rate: float | None
    seconds_max: float
    timeout_seconds: float
    processes: int
    seed: int
    idempotent: bool
    issuer: str | None = None
    audience: str | None = None

    @property
    def calls_expected(self) -> int:
        """Calls of the whole sale, as far as can be told beforehand."""
        return round(self.buyers * (1 + self.status_share + self.cancel_share))

    @property
    def loop(self) -> str:
        """How the calls are paced, in a few words."""
        return f"{self.rate:g} calls/s due" if self.rate else f"{self.connections} connections, closed loop"

    @property
    def arguments(self) -> list[str]:
        """The options of `booking loadtest` that make this plan again, apart from where its secret is."""
        options = {
            "url": self.url,
            "tickets": self.tickets,
            "buyers": self.buyers,
            "cancel": self.cancel_share,
            "status": self.status_share,
            "quantity-max": self.quantity_max,
            "connections": self.connections,
            "rate": self.rate,
            "seconds": self.seconds_max,
            "timeout": self.timeout_seconds,
            "processes": self.processes,
            "seed": self.seed,
        }
        named = [text for name, value in options.items() if value is not None for text in (f"--{name}", str(value))]
        return [*named, "--idempotent"] if self.idempotent else named

    def share_of(self, process: int) -> range:
        """The buyers of one process, by their index."""
        return range(process, self.buyers, self.processes)

    def connections_of(self, process: int, total: int) -> int:
        """One process's part of `total` connections, at least one."""
        return max(1, total // self.processes + (process < total % self.processes))


@dataclass(frozen=True, slots=True)
class Intent:
    """What one buyer will do."""

    quantity: int
    cancels: bool
    again: bool


def draw_intents(plan: Plan) -> list[Intent]:
    """Every buyer's intent, drawn from the seed alone, so that it does not depend on the number of processes."""
    draw = Random(plan.seed)  # noqa: S311 - a sale that can be played again, not a secret
    drawn = []
    for _ in range(plan.buyers):
        quantity, cancels, again = draw.randint(1, plan.quantity_max), draw.random(), draw.random()
        # A buyer who cancels asks once: a second click that arrives after the cancel would rightly book again.
        leaves = cancels < plan.cancel_share
        drawn.append(Intent(quantity, cancels=leaves, again=again < AGAIN_SHARE and not leaves))
    return drawn


def address_of(url: str) -> tuple[str, int, bool]:
    """Host, port and whether it is TLS. Raises ValueError for anything but http(s)://host[:port][/]."""
    parts: SplitResult = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("has to look like http://127.0.0.1:8000")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ValueError("has to be the address of the service alone, without a path")
    secure = parts.scheme == "https"
    return parts.hostname, parts.port or (443 if secure else 80), secure
