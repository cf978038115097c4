"""How the service's own log lines look; those of requests come from `web/access_log.py`, in the same form."""

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
"""Between two such lines of one kind."""


class BestEffortStream:
    """A stream whose text is lost where it cannot be written: its disk is full, or its reader gone.

    No sale ends for that, and whoever logs why something failed goes on to deal with it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Writes a line, if it can be."""
        with self._ignoring_errors():
            self._stream.write(text)

    def flush(self) -> None:
        """Brings it to its reader, if there is one."""
        with self._ignoring_errors():
            self._stream.flush()

    @contextmanager
    def _ignoring_errors(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # for good; what is left in the stream would be tried again at the end
            close_quietly(self._stream)
        except OSError:
            pass


def close_quietly(stream: TextIO) -> None:
    """Has what is still written to a stream whose reader has gone end nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class ThrottledLogger:
    """An error that every request may meet: told once a second, with how often it was the case."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._times = 0
        self._told_at = -THROTTLE_SECONDS

    def tell(self, **fields: object) -> None:
        """Counts one case, and tells of it and of those before it if it is time."""
        self._times += 1
        now = time.monotonic()
        if now - self._told_at >= THROTTLE_SECONDS:
            structlog.get_logger().error(self._event, times=self._times, **fields)
            self._told_at, self._times = now, 0


def configure(log_format: Literal["json", "console"]) -> None:
    """One line an event on standard output, as JSON or for people. Libraries' warnings come along."""
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
    """Whether standard output is a terminal whose owner has not asked for none (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _shorten_time(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A person who looks on knows the day, and reads no microseconds: `21:30:00.125`, as on the lines of requests."""
    line["at"] = line["at"][11:23]
    return line
