"""The plan of a load test, which every process gets. It is fixed before the start, and equal for equal seeds."""

from dataclasses import dataclass
from random import Random
from urllib.parse import SplitResult, urlsplit

BUYERS_MAX = 1_000_000
CONNECTIONS_MAX = 1_024
"""The most connections of a run. An open loop opens more if all are busy, up to this."""
PROCESSES_MAX = 64
RATE_MAX = 1_000_000
SECONDS_MAX = 86_400

READ_SILENCE_SECONDS_MAX = 10.0
"""The reads after the sale end if none has succeeded for this long. A worker restarts within this time."""

AGAIN_SHARE = 0.01
"""The share of buyers who book twice at once. Without them, double bookings would not be tested."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One sale. `rate` is in requests a second for the whole run (None: closed loop); times are in seconds."""

    url: str
    event_id: int
    tickets: int
    buyers: int
    cancel_share: float
    status_share: float
    """Status reads for each booking request."""
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
        """The estimated number of calls of the whole sale."""
        return round(self.buyers * (1 + self.status_share + self.cancel_share))

    @property
    def loop(self) -> str:
        """How the calls are paced, in a few words."""
        return f"{self.rate:g} calls/s due" if self.rate else f"{self.connections} connections, closed loop"

    @property
    def arguments(self) -> list[str]:
        """The options of `booking loadtest` that repeat this plan, without the options for the secret."""
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
        """The number of connections of one process, out of `total`; at least one."""
        return max(1, total // self.processes + (process < total % self.processes))


@dataclass(frozen=True, slots=True)
class Intent:
    """What one buyer will do."""

    quantity: int
    cancels: bool
    again: bool


def draw_intents(plan: Plan) -> list[Intent]:
    """The intents of all buyers. They are drawn from the seed alone, and do not depend on the number of processes."""
    draw = Random(plan.seed)  # noqa: S311 - a sale that can be played again, not a secret
    drawn = []
    for _ in range(plan.buyers):
        quantity, cancels, again = draw.randint(1, plan.quantity_max), draw.random(), draw.random()
        # A buyer who cancels books only once: a second request after the cancel would correctly book again.
        leaves = cancels < plan.cancel_share
        drawn.append(Intent(quantity, cancels=leaves, again=again < AGAIN_SHARE and not leaves))
    return drawn


def address_of(url: str) -> tuple[str, int, bool]:
    """Host, port, and whether it is TLS. Raises ValueError if `url` is not http(s)://host[:port][/]."""
    parts: SplitResult = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("has to look like http://127.0.0.1:8000")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ValueError("has to be the address of the service alone, without a path")
    secure = parts.scheme == "https"
    return parts.hostname, parts.port or (443 if secure else 80), secure
