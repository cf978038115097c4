"""One line a request, written some at a time so that it costs next to nothing."""

import asyncio
import hashlib
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
from starlette.routing import BaseRoute
from starlette.types import Scope

from booking.metrics import Histogram, Metrics, escaped
from booking.web.requests import USER
from booking.web.times import to_text

FLUSH_SECONDS = 0.2
"""The longest a line waits; a crash loses no more of the log than this."""

FLUSH_LINES = 100
"""Lines kept in memory, at most: some 25 KB, which stay in the processor's cache until they are written."""


METHODS = {"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"}
"""Methods that are counted by name; a client may send any word."""

COLOURS = {"2": "32", "4": "33", "5": "31"}
"""What a terminal shows a status in, by its first digit: green, yellow, red."""

Request = tuple[int, str, BaseRoute | None, int, int, str | None, str]
"""When a request was answered (nanoseconds since 1970), its method, route and status, what it took (microseconds), its
user and its id. Not its scope: that would keep requests and their tokens in memory."""


class AccessLog:
    """Belongs to one event loop. A slow reader of the log slows the service, and loses nothing; one that is gone
    loses what is written meanwhile.
    """

    def __init__(self, render: Callable[[dict[str, Any]], bytes], descriptor: int | None = None) -> None:
        self._render = render
        self._durations: dict[tuple[str, str, int], Histogram] = {}
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor
        self._requests: list[Request] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, scope: Scope, status: int, duration_us: int, request_id: str) -> None:
        """Notes a request; it becomes a line with many others, which is cheaper than one by one."""
        user = scope.get(USER)
        self._requests.append(
            (time.time_ns(), scope["method"], scope.get("route"), status, duration_us, user, request_id)
        )
        if len(self._requests) >= FLUSH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def hand_over(self, metrics: Metrics) -> None:
        """Counts in what was answered since the last time. Kept apart until then, which is cheaper a request."""
        durations, self._durations = self._durations, {}
        for (method, path, status), histogram in durations.items():
            labels = _labels(method, path)
            metrics.count("booking_requests_total", f'{labels},status="{status}"', sum(histogram.counts))
            metrics.histograms.setdefault(("booking_request_duration_seconds", labels), Histogram()).add(histogram)

    def flush(self) -> None:
        """Writes what is waiting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        requests, self._requests = self._requests, []
        for _, method, route, status, duration_us, _, _ in requests:
            answered = method, getattr(route, "path", "none"), status
            histogram = self._durations.get(answered)
            if histogram is None:
                histogram = self._durations[answered] = Histogram()
            histogram.observe(duration_us / 1e6)
        text = b"".join([self._render(_line(request)) for request in requests])
        with suppress(OSError):  # a full disk, or a reader that has gone, costs the lines, and no request its answer
            while text:
                text = text[os.write(self._descriptor, text) :]


def _labels(method: str, path: str) -> str:
    return escaped({"method": method if method in METHODS else "other", "route": path})


def _line(request: Request) -> dict[str, Any]:
    """A path's pattern is logged, never the path: that may hold anything."""
    at_ns, method, route, status, duration_us, user, request_id = request
    return {
        "at": to_text(at_ns // 1_000_000),
        "level": "info",
        "event": "request",
        "method": method,
        "route": getattr(route, "path", None),
        "status": status,
        "duration_ms": duration_us / 1000,
        "user": _presentable(user),
        "request_id": request_id,
    }


def json_line(line: dict[str, Any]) -> bytes:
    """For programs."""
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def console_line(line: dict[str, Any], *, colours: bool = False) -> bytes:
    """For people. A user's id may hold what would begin another line, or speak to the terminal."""
    user = line["user"] or "-"
    user = user if user.isprintable() else repr(user)
    status = str(line["status"])
    if colours:
        status = f"\x1b[{COLOURS.get(status[0], '0')}m{status}\x1b[0m"
    return (
        f"{line['at'][11:23]} {status} {line['method']:<6} {line['route'] or '-':<28} "
        f"{line['duration_ms']:8.3f} ms  user={user} id={line['request_id']}\n"
    ).encode()


def _presentable(user_id: str | None) -> str | None:
    """An outside identity provider may use emails as ids, and no email belongs into a log."""
    if user_id is not None and "@" in user_id:
        return "sha256:" + hashlib.sha256(user_id.encode()).hexdigest()[:16]
    return user_id
