"""The files that a load test leaves behind: opened before the load starts, written when it is over."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from booking.loadtest.page import render_page
from booking.loadtest.run import Outcome


class UnwritableFileError(Exception):
    """A file that was asked for cannot be written; one line that says which, and why."""


class Exports:
    """The files of `--json` and `--html`, each None if it was not asked for.

    Opening them shows whether they can be written, and leaves what they hold alone: a run that comes to no outcome
    changes no file and leaves none behind. Raises UnwritableFileError.
    """

    def __init__(self, json: Path | None, html: Path | None) -> None:
        if json is not None and html is not None and json.resolve() == html.resolve():
            raise UnwritableFileError(f"--json and --html both name {json}")
        self._files: list[tuple[_ResultFile, Callable[[Outcome], bytes]]] = []
        for path, render in ((json, _as_json), (html, _as_html)):
            if path is not None:
                try:
                    self._files.append((_ResultFile(path), render))
                except OSError as error:
                    self.close()
                    raise UnwritableFileError(f"{path} cannot be written: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, outcome: Outcome) -> list[str]:
        """Writes them all; returns a line for each that could not be, the others being written all the same."""
        faults = []
        for file, render in self._files:
            try:
                file.write(render(outcome))
            except OSError as error:
                faults.append(f"{file.path} was not written: {error.strerror}")
        return faults

    def close(self) -> None:
        """Closes them, and takes away those that are empty and were not there before."""
        for file, _ in self._files:
            file.close()


class _ResultFile:
    """One file that may be written, once."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when it cannot be written."""
        self.path = path
        self._is_new = not path.exists()
        # Appending keeps the content. Unbuffered, so that a full disk shows in `write` and not in `close`.
        self._file = path.open("ab", buffering=0)

    def write(self, content: bytes) -> None:
        """Replaces what the file holds. Raises OSError."""
        # A terminal, a pipe or /dev/stdout has nothing to be replaced.
        if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self._file.truncate(0)
        while content:
            content = content[self._file.write(content) :]
        self._is_new = False

    def close(self) -> None:
        self._file.close()
        if self._is_new:
            self.path.unlink(missing_ok=True)


def _as_json(outcome: Outcome) -> bytes:
    return orjson.dumps(outcome.to_json()) + b"\n"


def _as_html(outcome: Outcome) -> bytes:
    return render_page(outcome).encode()
