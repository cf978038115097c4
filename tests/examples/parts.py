"""The shop and the provider of scripts/examples as processes that can be killed, and what their files say."""

import runpy
import signal
import socket
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.fixtures.forks import ForkedProgram
from tests.fixtures.ports import unused_port
from tests.fixtures.service import START_SECONDS, RunningService
from tests.fixtures.waiting import eventually

EXAMPLES = Path(__file__).parents[2] / "scripts/examples"

TOKEN_SECONDS = 86_400

KEY = "the key of the shop at the provider"


def run_example(name: str) -> None:
    """Runs one of the programs as Python does."""
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@dataclass(slots=True)
class Part:
    """One program: `start` and `kill` may be called again and again."""

    name: str
    url: str
    environment: Mapping[str, str]
    log: Path
    arguments: Sequence[str] = ()
    process: ForkedProgram | None = None

    def start(self) -> None:
        """Starts it and returns once it can be connected to."""
        program: Callable[[], None] = partial(run_example, f"{self.name}.py")
        self.process = ForkedProgram(program, self.arguments, self.environment, output=self.log)
        eventually(self._listens, f"{self.name} listens", START_SECONDS)

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ends it with SIGTERM. It has to end in order."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(START_SECONDS)
        assert code in (0, -signal.SIGTERM), f"{self.name} ended with {code}:\n{self.log.read_text()}"

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} has ended:\n{self.log.read_text()}"
        where = urlsplit(self.url)
        with socket.socket() as tried:
            return tried.connect_ex((where.hostname, where.port)) == 0


@dataclass(slots=True)
class Till:
    """The shop and its provider, on one folder."""

    folder: Path
    shop: Part
    provider: Part
    parts: Mapping[str, Part] = field(init=False)

    def __post_init__(self) -> None:
        self.parts = {"shop": self.shop, "provider": self.provider}

    @property
    def payment_url(self) -> str:
        """The template with which an organizer leads an event's buyers to the shop."""
        names = ("event_id", "user_id", "payment_id", "signature")
        return f"{self.shop.url}/pay?" + "&".join(f"{name}={{{name}}}" for name in names)

    def orders(self) -> dict[str, str]:
        """The shop's book: the state of each order, by payment."""
        return dict(self._read("shop", "SELECT payment_id, state FROM orders"))

    def paid(self) -> dict[str, int]:
        """The amount of each payment that is paid at the provider."""
        return dict(self._read("provider", "SELECT payment_id, amount FROM charges WHERE state = 'paid'"))

    def refunds(self) -> Counter[str]:
        """The amount that the provider has given back of each payment."""
        return Counter(dict(self._read("provider", "SELECT payment_id, sum(amount) FROM refunds GROUP BY payment_id")))

    def untold(self) -> Counter[str]:
        """The number of notices of each payment that the shop has not acknowledged."""
        return Counter(
            payment_id
            for (payment_id,) in self._read("provider", "SELECT payment_id FROM notices WHERE NOT acknowledged")
        )

    def attempts(self) -> Counter[str]:
        """How often the provider has sent the notices of each payment in vain."""
        counted = self._read("provider", "SELECT payment_id, sum(attempts) FROM notices GROUP BY payment_id")
        return Counter({payment_id: int(count) for payment_id, count in counted})

    def failures(self) -> list[str]:
        """The exceptions that neither program expects, from the logs. One of them may lose the other in a request."""
        raised = [
            (part.name, trace)
            for part in self.parts.values()
            for trace in part.log.read_text(errors="replace").split("Traceback")[1:]
        ]
        return [f"{name}: {trace[-2_000:]}" for name, trace in raised if "ClientDisconnect" not in trace]

    def _read(self, name: str, query: str) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self.folder / name}.sqlite3?mode=rw", uri=True, timeout=20)) as sql:
            return sql.execute(query).fetchall()


@contextmanager
def running_till(service: RunningService, folder: Path, organizer: str, moods: Sequence[str] = ()) -> Iterator[Till]:
    """Runs a shop and its provider beside a service. `organizer` is the user id of the organizer of its events.

    `moods` are options of the provider.
    """
    urls = {name: f"http://127.0.0.1:{unused_port()}" for name in ("shop", "provider")}
    environment = {
        "SHOP_URL": urls["shop"],
        "SHOP_SERVICE_URL": service.base_url,
        "SHOP_SERVICE_TOKEN": service.token("the-shop", "service", TOKEN_SECONDS),
        "SHOP_ORGANIZER_TOKEN": service.token(organizer, "organizer", TOKEN_SECONDS),
        "SHOP_PROVIDER_URL": urls["provider"],
        "SHOP_PROVIDER_KEY": KEY,
        "SHOP_DATA_DIR": str(folder),
    }
    folder.mkdir(parents=True, exist_ok=True)
    shop, provider = (
        Part(name, urls[name], environment, folder / f"{name}.log", arguments)
        for name, arguments in (("shop", ()), ("provider", moods))
    )
    till = Till(folder, shop, provider)
    try:
        provider.start()
        shop.start()
        yield till
    except BaseException:
        for part in till.parts.values():
            if part.process is not None:
                part.kill()
        raise
    shop.stop()
    provider.stop()
