"""One process of the load: told its plan on standard input, it signs, waits for the start, plays, reads, and tells.

What it is told: a line with the plan, then `go`, then `read 1` (or `read 0`, to leave alone a service that is
away); the end of the input ends it, so that none outlives the process that began it. What it tells, a JSON document a
line, each with one key that says what it is.
"""

import gc
import os
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from queue import Queue
from time import perf_counter_ns, process_time_ns, sleep
from typing import Any

import orjson

from booking.auth.tokens import sign_token
from booking.loadtest.calls import Kind
from booking.loadtest.generator import Generator, Pacing
from booking.loadtest.plan import CONNECTIONS_MAX, READ_SILENCE_SECONDS_MAX, Plan, address_of, draw_intents
from booking.loadtest.records import user_id
from booking.loadtest.workload import SaleWorkload

PROGRESS_NS = 250_000_000
RECORDS_A_LINE = 2_000
READ_SECONDS_MAX = 1_800.0
"""The reading after the sale has a bound of its own: a short sale of many buyers is read to its end, too."""

TOKEN_SECONDS = 86_400 + 3_600
"""Longer than any run."""

_heard: Queue[bytes] = Queue()


def main() -> None:
    """Plays one process's part."""
    # Ctrl-C reaches every process of the terminal; this one ends when the one that began it does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_listen, daemon=True).start()
    told = orjson.loads(_heard.get())
    plan, process = Plan(**told["plan"]), int(told["process"])
    intents = draw_intents(plan)
    secret = told["secret"].encode()
    mine = plan.share_of(process)
    tokens = {
        index: sign_token(
            secret, user_id(index), None, TOKEN_SECONDS, issuer=plan.issuer, audience=plan.audience
        ).encode()
        for index in mine
    }
    workload = SaleWorkload(plan, {index: intents[index] for index in mine}, tokens)
    # Nothing made during the run is cyclic; a collection in the middle of it would only be measured as latency.
    gc.collect()
    gc.freeze()
    gc.disable()
    _tell("ready", len(tokens))
    started_ns = int(_hear("go"))
    _play(plan, process, workload, started_ns)
    ask = _hear("read") == "1"
    workload.read_back()
    _read_back(plan, process, workload, ask=ask)


def pacing(plan: Plan, process: int, rate: float | None, seconds_max: float) -> Pacing:
    """How one process paces its part of the plan; `rate` is in calls a second of the whole run."""
    connections = plan.connections_of(process, plan.connections)
    return Pacing(
        address=address_of(plan.url),
        connections=connections,
        connections_max=max(connections, plan.connections_of(process, CONNECTIONS_MAX)),
        rate=rate / plan.processes if rate else None,
        seconds_max=seconds_max,
        timeout_seconds=plan.timeout_seconds,
        seed=plan.seed + process,
    )


def _play(plan: Plan, process: int, workload: SaleWorkload, started_ns: int) -> None:
    sleep(max(0.0, (started_ns - perf_counter_ns()) / 1e9))
    generator = Generator(pacing(plan, process, plan.rate, plan.seconds_max), workload)
    progress = Progress(workload)
    cpu_ns, waited_ns, began_ns = process_time_ns(), _waited_for_a_core_ns(), perf_counter_ns()
    generator.run(progress.tell_now_and_then)
    wall_ns = perf_counter_ns() - began_ns
    _tell(
        "played",
        {
            "latencies": {kind.name: histogram.to_json() for kind, histogram in workload.latencies.items()},
            "lateness": generator.lateness.to_json(),
            "answers": [[kind.name, what, count] for (kind, what), count in workload.recorder.answers.items()],
            "kept_waiting": generator.kept_waiting.to_json(),
            "away_ns": generator.away_ns,
            "refused_connections": generator.refused_connections,
            "wall_ns": wall_ns,
            "cpu_ns": process_time_ns() - cpu_ns,
            "waited_ns": _waited_for_a_core_ns() - waited_ns,
        },
    )


def _read_back(plan: Plan, process: int, workload: SaleWorkload, *, ask: bool) -> None:
    if ask:
        progress, silence = Progress(workload), ReadSilence(workload, READ_SILENCE_SECONDS_MAX)

        def on_tick() -> None:
            progress.tell_now_and_then()
            silence.end_if_too_long()

        Generator(pacing(plan, process, None, READ_SECONDS_MAX), workload).run(on_tick)
    records = [record for record in workload.recorder.buyers.values() if record.seen]
    for start in range(0, len(records), RECORDS_A_LINE):
        _tell("records", [list(asdict(record).values()) for record in records[start : start + RECORDS_A_LINE]])
    _tell("findings", workload.recorder.findings.to_json())
    _tell("read", {"latencies": workload.latencies[Kind.READ].to_json()})


class ReadSilence:
    """Ends the reading once no booking could be read for `seconds_max`; refusals are no progress."""

    def __init__(self, workload: SaleWorkload, seconds_max: float) -> None:
        self._workload = workload
        self._silence_ns_max = int(seconds_max * 1e9)
        self._read = 0
        self._heard_ns = perf_counter_ns()

    def end_if_too_long(self) -> None:
        """Closes the workload if nothing could be read for too long."""
        read, now_ns = self._workload.recorder.read, perf_counter_ns()
        if read > self._read:
            self._read, self._heard_ns = read, now_ns
        elif now_ns - self._heard_ns > self._silence_ns_max:
            self._workload.closed = True


class Progress:
    """Tells now and then how far the run is and how fast the latest answers were."""

    def __init__(self, workload: SaleWorkload) -> None:
        self._workload = workload
        self._next_ns = 0
        self._told: dict[int, int] = {}

    def tell_now_and_then(self) -> None:
        """Tells, if the last time is long enough ago."""
        now_ns = perf_counter_ns()
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + PROGRESS_NS
        whole: dict[int, int] = {}
        for histogram in self._workload.latencies.values():
            for upper_ns, count in histogram.buckets():
                whole[upper_ns] = whole.get(upper_ns, 0) + count
        latest = [[upper_ns, count - self._told.get(upper_ns, 0)] for upper_ns, count in whole.items()]
        self._told = whole
        _tell("progress", {"answers": sum(whole.values()), "latest": [pair for pair in latest if pair[1]]})


def _waited_for_a_core_ns() -> int:
    """How long this process had work and no core to do it on; 0 if the system does not say."""
    try:
        return int(Path("/proc/self/schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _tell(what: str, document: Any) -> None:
    sys.stdout.buffer.write(orjson.dumps({what: document}) + b"\n")
    sys.stdout.buffer.flush()


def _hear(wanted: str) -> str:
    word, _, rest = _heard.get().decode().partition(" ")
    assert word == wanted
    return rest


def _listen() -> None:
    """Takes the input line by line, in a thread, so that its end ends the process whatever it is doing."""
    rest = b""
    while data := os.read(sys.stdin.fileno(), 65_536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            _heard.put(line)
    os._exit(1)


if __name__ == "__main__":
    main()
