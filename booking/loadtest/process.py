"""One load process: it signs tokens, waits for the start, plays its part, reads bookings back, and reports.

Standard input has a line with the plan, then `go`, then `read 1` (or `read 0`, which makes no calls to a service that
is away). The end of the input ends the process, so that it does not outlive its parent. Standard output has one JSON
document a line, each with one key that says what it is.
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
"""The time limit of the reads after the sale. It is separate, so that a short sale of many buyers is read in full."""

TOKEN_SECONDS = 86_400 + 3_600
"""Longer than any run."""

_commands: Queue[bytes] = Queue()


def main() -> None:
    """Plays one process's part."""
    # Ctrl-C reaches every process of the terminal; this one ends with its parent instead.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_listen, daemon=True).start()
    command = orjson.loads(_commands.get())
    plan, process = Plan(**command["plan"]), int(command["process"])
    intents = draw_intents(plan)
    secret = command["secret"].encode()
    own_buyers = plan.share_of(process)
    tokens = {
        index: sign_token(
            secret, user_id(index), None, TOKEN_SECONDS, issuer=plan.issuer, audience=plan.audience
        ).encode()
        for index in own_buyers
    }
    workload = SaleWorkload(plan, {index: intents[index] for index in own_buyers}, tokens)
    # The run creates no cyclic garbage, and a collection during the run would be measured as latency.
    gc.collect()
    gc.freeze()
    gc.disable()
    _report("ready", len(tokens))
    started_ns = int(_receive("go"))
    _play(plan, process, workload, started_ns)
    ask = _receive("read") == "1"
    workload.read_back()
    _read_back(plan, process, workload, ask=ask)


def pacing(plan: Plan, process: int, rate: float | None, seconds_max: float) -> Pacing:
    """The pacing of one process. `rate` is in calls a second for the whole run; None: closed loop."""
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
    generator.run(progress.report_if_due)
    wall_ns = perf_counter_ns() - began_ns
    _report(
        "played",
        {
            "latencies": {kind.name: histogram.to_json() for kind, histogram in workload.latencies.items()},
            "lateness": generator.lateness.to_json(),
            "answers": [[kind.name, what, count] for (kind, what), count in workload.recorder.results.items()],
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
        progress, timeout = Progress(workload), ReadTimeout(workload, READ_SILENCE_SECONDS_MAX)

        def on_tick() -> None:
            progress.report_if_due()
            timeout.close_if_over()

        Generator(pacing(plan, process, None, READ_SECONDS_MAX), workload).run(on_tick)
    records = [record for record in workload.recorder.buyers.values() if record.seen]
    for start in range(0, len(records), RECORDS_A_LINE):
        _report("records", [list(asdict(record).values()) for record in records[start : start + RECORDS_A_LINE]])
    _report("findings", workload.recorder.findings.to_json())
    _report("read", {"latencies": workload.latencies[Kind.READ].to_json()})


class ReadTimeout:
    """Ends the reads if none has succeeded for `seconds_max`. A refusal does not count as a success."""

    def __init__(self, workload: SaleWorkload, seconds_max: float) -> None:
        self._workload = workload
        self._silence_ns_max = int(seconds_max * 1e9)
        self._read = 0
        self._last_read_ns = perf_counter_ns()

    def close_if_over(self) -> None:
        """Closes the workload if the time is over."""
        read, now_ns = self._workload.recorder.read, perf_counter_ns()
        if read > self._read:
            self._read, self._last_read_ns = read, now_ns
        elif now_ns - self._last_read_ns > self._silence_ns_max:
            self._workload.closed = True


class Progress:
    """Reports the progress of the run, and the latencies of the latest responses, every PROGRESS_NS."""

    def __init__(self, workload: SaleWorkload) -> None:
        self._workload = workload
        self._next_ns = 0
        self._reported: dict[int, int] = {}

    def report_if_due(self) -> None:
        """Reports if the last report is long enough ago."""
        now_ns = perf_counter_ns()
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + PROGRESS_NS
        whole: dict[int, int] = {}
        for histogram in self._workload.latencies.values():
            for upper_ns, count in histogram.buckets():
                whole[upper_ns] = whole.get(upper_ns, 0) + count
        latest = [[upper_ns, count - self._reported.get(upper_ns, 0)] for upper_ns, count in whole.items()]
        self._reported = whole
        _report("progress", {"answers": sum(whole.values()), "latest": [pair for pair in latest if pair[1]]})


def _waited_for_a_core_ns() -> int:
    """The time in which this process had work but no free core; 0 if the system does not record it."""
    try:
        return int(Path("/proc/self/schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _report(what: str, document: Any) -> None:
    sys.stdout.buffer.write(orjson.dumps({what: document}) + b"\n")
    sys.stdout.buffer.flush()


def _receive(wanted: str) -> str:
    word, _, rest = _commands.get().decode().partition(" ")
    assert word == wanted
    return rest


def _listen() -> None:
    """Reads the input by lines, in a thread, so that the end of the input ends the process at any time."""
    rest = b""
    while data := os.read(sys.stdin.fileno(), 65_536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            _commands.put(line)
    os._exit(1)


if __name__ == "__main__":
    main()
