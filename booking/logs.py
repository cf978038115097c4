"""The format of the service's log. `web/access_log.py` writes the lines of requests in the same format."""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TextIO, cast

import orjson
import structlog

THROTTLE_SECONDS = 1.0
"""Between two lines of one ThrottledLogger."""


class BestEffortStream:
    """A stream that drops what it cannot write, because the disk is full or the reader has gone.

    So a log line that cannot be written stops neither a sale nor the handling of an error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Writes text if that is possible."""
        with self._ignoring_errors():
            self._stream.write(text)

    def flush(self) -> None:
        """Flushes if that is possible."""
        with self._ignoring_errors():
            self._stream.flush()

    @contextmanager
    def _ignoring_errors(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # permanent; the interpreter would flush the rest again at exit, and fail
            close_quietly(self._stream)
        except OSError:
            pass


def close_quietly(stream: TextIO) -> None:
    """Redirects a stream whose reader has gone to /dev/null."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


class ThrottledLogger:
    """Logs an error that every request may meet, once a second at most, with the number of times it happened."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._times = 0
        self._logged_at = -THROTTLE_SECONDS

    def error(self, **fields: object) -> None:
        """Counts the error, and logs it with those since the last line, if THROTTLE_SECONDS have passed."""
        self._times += 1
        now = time.monotonic()
        if now - self._logged_at >= THROTTLE_SECONDS:
            structlog.get_logger().error(self._event, times=self._times, **fields)
            self._logged_at, self._times = now, 0


def configure(log_format: Literal["json", "console"]) -> None:
    """Logs to standard output, one line for each event, as JSON or for people. Includes warnings of libraries."""
    output = BestEffortStream(sys.stdout)
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = structlog.dev.ConsoleRenderer(
        colors=has_colours(), timestamp_key="at", pad_event_to=0, pad_level=False
    )
    if log_format == "console":
        shared.append(_shorten_time)
    else:
        renderer = structlog.processors.JSONRenderer(
            serializer=lambda line, **_: orjson.dumps(line, default=str).decode()
        )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", output)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def has_colours() -> bool:
    """Whether standard output is a terminal and NO_COLOR is not set (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _shorten_time(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Keeps the time without date and microseconds, `21:30:00.125`, as in the lines of requests."""
    line["at"] = line["at"][11:23]
    return line
