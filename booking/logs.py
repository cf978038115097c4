"""The service's log: its format, and how it is written, so that nothing waits for its reader.

`web/access_log.py` writes the lines of requests in the same format.
"""

import atexit
import io
import logging
import os
import select
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

if TYPE_CHECKING:
    import structlog

THROTTLE_SECONDS = 1.0
"""Between two lines of one ThrottledLogger."""

WAITING_BYTES_MAX = 1_048_576
"""Bytes of one process's log that may wait for the reader: some 5,000 lines."""

PAUSE_SECONDS = 0.05
"""Between two writes of a stream. To write each batch of a busy worker at once takes 6 % of its processor time: its two
threads pass the interpreter's lock to and fro."""

DRAIN_SECONDS = 1.0
"""How long a process that ends waits for the reader of its log."""

DROPPED = "lines of the log are lost: nothing read them in time, or they could not be written"
"""The text of the line about dropped lines."""


class LogStream(io.TextIOBase):
    """A text stream, always UTF-8, whose own thread writes to a descriptor: the caller never waits, and gets no error.

    A pipe's reader may stand still, a terminal may be stopped, a disk may be full or hang. Lines that find
    WAITING_BYTES_MAX waiting, or that cannot be written, are dropped and counted. When lines flow again, one of them
    says how many are missing.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.notice = _plain_notice
        """Makes the line about dropped lines from their number."""
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._chunks: list[bytes] = []
        self._waiting_bytes = 0
        self._dropped = self._unreported = 0
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether the descriptor is a terminal."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """Always True."""
        return True

    def write(self, text: str) -> int:
        """Passes text to the thread."""
        self.write_bytes(text.encode(errors=self.errors))
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Passes encoded text to the thread."""
        with self._changed:
            if self._waiting_bytes + len(data) > WAITING_BYTES_MAX:
                self._count_dropped(data)
                return
            self._chunks.append(data)
            self._waiting_bytes += len(data)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="log", daemon=True)
                with suppress(RuntimeError):  # the system has no thread left; the next line tries again
                    thread.start()
                    self._thread = thread
            self._changed.notify_all()

    def take_dropped(self) -> int:
        """The number of lines dropped since the last call."""
        with self._changed:
            dropped, self._dropped = self._dropped, 0
            return dropped

    def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Returns when everything is written, and after `seconds` at the latest."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting_bytes, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._chunks)
                data, self._chunks = b"".join(self._chunks), []
            written = self._write_out(data)
            with self._changed:
                self._waiting_bytes -= len(data)
                if not written:
                    self._count_dropped(data)
                elif self._unreported:
                    notice = self.notice(self._unreported).encode(errors=self.errors)
                    self._chunks.append(notice)
                    self._waiting_bytes += len(notice)
                    self._unreported = 0
                self._changed.notify_all()
            time.sleep(PAUSE_SECONDS)

    def _write_out(self, data: bytes) -> bool:
        """Whether all of it could be written; waits as long as that takes."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # another program that shares the terminal or the pipe has made it non-blocking
                waiting = select.poll()
                waiting.register(self._descriptor, select.POLLOUT)
                waiting.poll()
            except OSError:
                return False
        return True

    def _count_dropped(self, data: bytes) -> None:
        lines = data.count(b"\n")
        self._dropped += lines
        self._unreported += lines


_streams: dict[int, LogStream] = {}


def log_stream(stream: TextIO) -> LogStream:
    """The LogStream of this process that writes where `stream` does. At its end, the process drains it."""
    if isinstance(stream, LogStream):
        return stream
    descriptor = stream.fileno()
    if descriptor not in _streams:
        _streams[descriptor] = LogStream(descriptor)
        atexit.register(_streams[descriptor].drain)
    return _streams[descriptor]


def unwaiting(stream: TextIO) -> TextIO:
    """For messages beside a command's result: the LogStream in place of `stream`; `stream` if it has no descriptor."""
    try:
        return cast("TextIO", log_stream(stream))
    except OSError:
        return stream


def drain(stream: object) -> None:
    """Returns when `unwaiting` messages are written, and after DRAIN_SECONDS at the latest: before the result."""
    if isinstance(stream, LogStream):
        stream.drain()


def restore_streams() -> None:
    """The reverse of `never_wait`, once all lines are written, or after DRAIN_SECONDS for each stream."""
    for stream in _streams.values():
        stream.drain()
    _forget_streams()


def _forget_streams() -> None:
    _streams.clear()
    for name in ("stdout", "stderr"):
        if isinstance(getattr(sys, name), LogStream):
            setattr(sys, name, getattr(sys, f"__{name}__"))


# The threads that write do not exist in a fork, and their locks may be held.
os.register_at_fork(after_in_child=_forget_streams)


def never_wait() -> None:
    """Makes standard output and standard error LogStreams: for processes whose output is a log.

    So no message, warning or traceback of any library makes the process wait, and none fails for its characters.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:  # None: the program was started without it
            stream.flush()
            setattr(sys, name, log_stream(stream))


def take_dropped() -> int:
    """The number of lines that this process has dropped since the last call."""
    return sum(stream.take_dropped() for stream in _streams.values())


def close_quietly(stream: TextIO) -> None:
    """Redirects a stream whose reader has gone to /dev/null."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _plain_notice(lines: int) -> str:
    return f"booking: {lines} {DROPPED}\n"


class ThrottledLogger:
    """Logs an error that every request may meet, once a second at most, with the number of times it happened."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._times = 0
        self._logged_at = -THROTTLE_SECONDS

    def error(self, **fields: object) -> None:
        """Counts the error, and logs it with those since the last line, if THROTTLE_SECONDS have passed."""
        import structlog

        self._times += 1
        now = time.monotonic()
        if now - self._logged_at >= THROTTLE_SECONDS:
            structlog.get_logger().error(self._event, times=self._times, **fields)
            self._logged_at, self._times = now, 0


def configure(log_format: Literal["json", "console"], node: str) -> None:
    """Logs to standard output, one line for each event, as JSON or for people. Includes warnings of libraries.

    Lines of JSON, which may be collected from several nodes, have the name of this one.
    """
    import orjson  # only here, like structlog, so that processes start fast
    import structlog

    output = log_stream(sys.stdout)
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
        shared.append(lambda _logger, _method, line: {**line, "node": node})
        renderer = structlog.processors.JSONRenderer(
            serializer=lambda line, **_: orjson.dumps(line, default=str).decode()
        )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", output)),  # writes a line as one text
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
    notice: list[structlog.typing.Processor] = [*shared, renderer]

    def render(lines: int) -> str:
        line: Any = {"event": DROPPED, "lines": lines}
        for process in notice:
            line = process(None, "warning", line)
        return f"{line}\n"

    output.notice = render


def printable(text: str) -> str:
    """A text from outside for a terminal: escaped if it could hold line breaks, terminal codes or hidden characters."""
    return text if text.isprintable() else repr(text)


def has_colours() -> bool:
    """Whether standard output is a terminal and NO_COLOR is not set (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _shorten_time(_logger: object, _method: str, line: "structlog.typing.EventDict") -> "structlog.typing.EventDict":
    """Keeps the time without date and microseconds, `21:30:00.125`, as in the lines of requests."""
    line["at"] = line["at"][11:23]
    return line
