"""The result files of a load test: opened before the load starts, written after it."""

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
    """A result file cannot be written. The message is one line with the file and the reason."""


class Exports:
    """The files of `--json` and `--html`; None for an option that is not used.

    To open them checks that they can be written, and does not change their content: a run without an outcome changes
    no file and creates none. Raises UnwritableFileError.
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
        """Writes all files; returns a message for each that could not be written."""
        faults = []
        for file, render in self._files:
            try:
                file.write(render(outcome))
            except OSError as error:
                faults.append(f"{file.path} was not written: {error.strerror}")
        return faults

    def close(self) -> None:
        """Closes the files, and deletes new ones that are still empty."""
        for file, _ in self._files:
            file.close()


class _ResultFile:
    """One file that may be written, once."""

    def __init__(self, path: Path) -> None:
        """Raises OSError if it cannot be written."""
        self.path = path
        self._is_new = not path.exists()
        # Appending keeps the content. Unbuffered, so that a full disk shows in `write` and not in `close`.
        self._file = path.open("ab", buffering=0)

    def write(self, content: bytes) -> None:
        """Replaces the file's content. Raises OSError."""
        # A terminal, a pipe or /dev/stdout cannot be truncated.
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
