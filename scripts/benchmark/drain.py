"""How fast the persister carries the stream into SQL: filled while it is away, then timed from outside."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark import processes, wrk
from scripts.benchmark.processes import PartError
from scripts.benchmark.service import booking, environment, serve

POLL_S = 0.02

PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Drain:
    """What was carried while the clock ran, and the cores that the persister used meanwhile."""

    rows: int
    seconds: float
    cores: float

    @property
    def per_second(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


def drain(data_dir: Path, secret: bytes, tokens: Path, seconds: int, settings: Mapping[str, str]) -> Drain:
    """Sells for `seconds` without a persister, then starts one and watches the lag shrink.

    The clock starts at the first change that reaches SQL, so that the program's start is not in the figure.
    Raises LoadError and PartError.
    """
    log = data_dir.with_suffix(".persister.log")
    with serve(data_dir, secret, 1, settings, persister=False) as service:
        sale = service.open_sale()
        wrk.shoot(sale, tokens, seconds)
        filled = service.lag_entries()
        with processes.running(booking("persist"), log, environment(data_dir, secret, settings)) as persister:
            processes.wait_until(lambda: service.lag_entries() < filled, persister, log, PATIENCE_S)
            lag, started, cpu_s = service.lag_entries(), time.monotonic(), processes.used_cpu_s([persister.pid])
            rows = lag
            while lag:
                if time.monotonic() - started > PATIENCE_S or persister.poll() is not None:
                    raise PartError(f"the persister did not finish, {lag} rows were left:\n{processes.last_lines(log)}")
                time.sleep(POLL_S)
                lag = service.lag_entries()
            elapsed_s = time.monotonic() - started
            cores = (processes.used_cpu_s([persister.pid]) - cpu_s) / elapsed_s
    if not rows:
        raise PartError(f"{filled} rows were carried before the clock had started: fill the stream for longer")
    return Drain(rows, elapsed_s, cores)
