"""The access log: one line a request. Lines are written in batches, which is cheap."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Any

import orjson
from starlette.types import Scope

from booking.logs import printable
from booking.metrics import Histogram, Metrics, escaped
from booking.settings import CLIENT_CHARACTERS_MAX
from booking.web.requests import USER
from booking.web.times import to_text

FLUSH_SECONDS = 0.2
"""The longest time that a line waits here. A crash loses no more of the log than this and `logs.PAUSE_SECONDS`."""

FLUSH_LINES = 100
"""The most lines in memory: about 25 KB, which fit into the processor's cache."""


METHODS = {"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"}
"""Methods that are counted by name. Any other is counted as `other`, because a client may send any word."""

COLOURS = {"2": "32", "4": "33", "5": "31"}
"""A status's colour on a terminal, by its first digit: green, yellow, red."""


class AccessLog:
    """Collects the lines of one event loop, and passes them on in batches; `output` must not wait."""

    def __init__(self, render: Callable[[dict[str, Any]], bytes], output: Callable[[bytes], object], node: str) -> None:
        self._render = render
        self._node = node
        self._durations: dict[tuple[str, str | None, int], Histogram] = {}
        """By method, route and status."""
        self._output = output
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, scope: Scope, status: int, duration_us: int, request_id: str) -> None:
        """Records a request. `flush` writes its line together with others, which is cheaper than one by one.

        The line has the route's pattern and not the path, because a path may hold secrets. `client` is the client's
        address; behind a trusted proxy, what that proxy says, which may be any text.
        """
        get = scope.get
        method, path, user, client = scope["method"], getattr(get("route"), "path", None), get(USER), get("client")
        histogram = self._durations.get((method, path, status))
        if histogram is None:
            histogram = self._durations[method, path, status] = Histogram()
        histogram.observe(duration_us / 1e6)
        line = {
            "at": to_text(time.time_ns() // 1_000_000),
            "level": "info",
            "event": "request",
            "method": method,
            "route": path,
            "status": status,
            "duration_ms": duration_us / 1000,
            "user": user if user is None or "@" not in user else _hashed(user),
            "client": client and client[0][:CLIENT_CHARACTERS_MAX],
            "request_id": request_id,
            "node": self._node,
        }
        self._lines.append(self._render(line))
        if len(self._lines) >= FLUSH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def collect(self, metrics: Metrics) -> None:
        """Adds the requests since the last call to `metrics`. To add them one by one would cost more a request."""
        durations, self._durations = self._durations, {}
        for (method, path, status), histogram in durations.items():
            labels = _labels(method, path or "none")
            metrics.count("booking_requests_total", f'{labels},status="{status}"', sum(histogram.counts))
            metrics.histograms.setdefault(("booking_request_duration_seconds", labels), Histogram()).add(histogram)

    def flush(self) -> None:
        """Writes all recorded requests."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if lines:
            self._output(b"".join(lines))


def _labels(method: str, path: str) -> str:
    return escaped({"method": method if method in METHODS else "other", "route": path})


def json_line(line: dict[str, Any]) -> bytes:
    """A line as JSON, for programs."""
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def console_line(line: dict[str, Any], *, colours: bool = False) -> bytes:
    """A line for a person."""
    user, client = printable(line["user"] or "-"), printable(line["client"] or "-")
    status = str(line["status"])
    if colours:
        status = f"\x1b[{COLOURS.get(status[0], '0')}m{status}\x1b[0m"
    return (
        f"{line['at'][11:23]} {status} {line['method']:<6} {line['route'] or '-':<28} "
        f"{line['duration_ms']:8.3f} ms  user={user} from={client} id={line['request_id']}\n"
    ).encode()


def _hashed(email: str) -> str:
    """A hash in place of an email: identity providers may use emails as user ids, and a log must hold no email."""
    return "sha256:" + hashlib.sha256(email.encode()).hexdigest()[:16]
