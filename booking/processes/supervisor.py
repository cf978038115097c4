"""The supervisor, which `booking serve` runs: it starts the child processes, restarts them and stops them in order."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from booking.inventory.embedded import EmbeddedServer, EmbeddedServerFailed
from booking.metrics import FOLDER as METRICS_FOLDER
from booking.processes import entry_point
from booking.processes.child_process import CannotStart, ChildProcess, Command, Forked, describe_end
from booking.processes.data_folder import DataFolder, DataFolderTaken, LocksMissing
from booking.processes.listening_sockets import Listeners, answers
from booking.processes.priority import StarvationWatch, restore_priority
from booking.settings import DRAIN_SIGNAL, EXIT_BEHIND, EXIT_WRONG_SETTING, Settings, SettingsError

STOP_ORDER = ((("worker", "migration", "inspection"), 8.0), (("persister", "outbox"), 9.0), (("redis",), 9.7))
"""The children in the order in which they stop, and the seconds from the signal after which they are killed. A kill is
safe: acknowledged changes are on disk, and the persister goes on from its cursor at the next start."""

START_DEATHS_MAX = 3
"""If a child dies this often before the service has answered once, the start fails."""


class StartFailed(Exception):
    """The service cannot start. The message says why; it is empty if a child has printed the reason."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Supervisor:
    """Runs one service on one data folder."""

    def __init__(
        self, settings: Settings, *, with_persister: bool = True, with_outbox: bool = True, migrates: bool = True
    ) -> None:
        """Without `migrates`, the start fails if the tables are not those of this version."""
        self._settings = settings
        self._migrates = migrates
        self._settings_json = settings.model_dump_json().encode()
        self._with_persister, self._with_outbox = with_persister, with_outbox
        self._folder = DataFolder(settings.data_dir)
        self._embedded = EmbeddedServer(settings) if settings.embedded_redis else None
        self._listeners: Listeners | None = None
        self._stop_requested, self._stop_now = asyncio.Event(), asyncio.Event()
        self._answers = False
        self._starvation_watch = StarvationWatch(report)
        self._children: list[ChildProcess] = []
        self._workers: list[ChildProcess] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> int:
        """Serves until SIGINT, SIGTERM or SIGHUP, and returns 0. Raises StartFailed if the service cannot start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
            # A closed terminal may send it twice; the second one must not kill the children.
            loop.add_signal_handler(signal.SIGHUP, self._stop_requested.set)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        self._lock_folder()
        try:
            start = asyncio.create_task(self._start())
            stop = asyncio.create_task(self._stop_requested.wait())
            await asyncio.wait((start, stop), return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                start.result()
            await stop
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)
            await self._drain()
        finally:
            await self._stop()
            self._folder.close()
        return 0

    def _lock_folder(self) -> None:
        try:
            self._folder.open()
            shutil.rmtree(self._settings.data_dir / METRICS_FOLDER, ignore_errors=True)  # counters restart only here
        except (DataFolderTaken, LocksMissing) as error:
            raise StartFailed(str(error), EXIT_WRONG_SETTING) from None
        except OSError as error:
            raise StartFailed(f"BOOKING_DATA_DIR: {error.filename}: {error.strerror}", EXIT_WRONG_SETTING) from None

    async def _start(self) -> None:
        """Starts all children at the same time; each waits until it is released."""
        listeners = self._prepare()
        engine = "an embedded Redis, " if self._embedded is not None else ""
        persister = "the persister" if self._with_persister else "no persister"
        report(f"starting {engine}{persister} and {self._settings.workers} web worker(s) on {self._settings.data_dir}")
        self._workers = [
            self._child(f"worker-{number}", partial(self._web_command, listeners, number))
            for number in range(1, self._settings.workers + 1)
        ]
        persisters = [self._child("persister", self._persister_command)] if self._with_persister else []
        outboxes = [self._child("outbox", partial(self._command, "notify"))] if self._with_outbox else []
        migration = self._child("migration", partial(self._command, "migrate" if self._migrates else "check-schema"))
        is_external = self._settings.redis_url is not None or self._settings.redis_server is not None
        inspections = [self._child("inspection", partial(self._command, "inspect"))] if is_external else []
        for child in (migration, *inspections, *self._workers, *persisters, *outboxes):
            child.launch()
        embedded = [await self._start_embedded()] if self._embedded is not None else []
        for child in (*inspections, migration):  # one after the other: a refused start says why, and no more
            child.release()
            code = await child.ended()
            if code != 0:
                raise StartFailed(f"the {child.name} {describe_end(code)}" if code < 0 else "", max(code, 1))
        for child in self._workers:
            child.release()
        self._tasks = [
            asyncio.create_task(child.keep_running(partial(self._may_restart, child)))
            for child in (*embedded, *persisters, *outboxes, *self._workers)
        ]
        self._tasks += [asyncio.create_task(self._starvation_watch.run(child)) for child in persisters]
        await self._first_answer(listeners.url)
        self._answers = True
        for child in (*persisters, *outboxes):
            child.release()  # only now, so that only one child prints an error about wrong settings
        self._describe()
        report(f"serving on {listeners.url} (Ctrl-C stops it; its files are in {self._settings.data_dir})")

    def _prepare(self) -> Listeners:
        """Opens the listening sockets and prepares the embedded server, before any child. Raises StartFailed."""
        settings = self._settings
        try:
            listeners = self._listeners = Listeners(settings.hosts, settings.port, settings.workers)
        except OSError as error:
            raise StartFailed(f"BOOKING_HOST, BOOKING_PORT: {error.strerror}", EXIT_WRONG_SETTING) from None
        try:
            if self._embedded is not None:
                self._embedded.prepare()
        except SettingsError as error:
            raise StartFailed(str(error), EXIT_WRONG_SETTING) from None
        except EmbeddedServerFailed as error:
            raise StartFailed(str(error)) from None
        return listeners

    async def _start_embedded(self) -> ChildProcess:
        assert self._embedded is not None
        server = self._embedded
        try:
            child = self._child("redis", self._embedded_command)
            process = child.launch()
            child.release()
            await server.wait_until_ready(process, report)
        except (EmbeddedServerFailed, CannotStart, OSError) as error:
            raise StartFailed(str(error)) from None
        return child

    def _embedded_command(self) -> Command:
        assert self._embedded is not None
        try:
            repaired = self._embedded.repair()
            if repaired is not None:
                report(repaired)
            arguments = self._embedded.prepare()
        except (SettingsError, EmbeddedServerFailed) as error:  # for example, its program is being upgraded
            raise CannotStart(str(error)) from None
        # The server inherits the folder's lock, so that no second server opens its files while it lives.
        configuration, log = self._embedded.configuration, str(self._embedded.log)
        return Command(arguments, configuration, pass_fds=(self._folder.lock,), log=log)

    def _web_command(self, listeners: Listeners, worker: int) -> Forked:
        descriptors = [listener.fileno() for listener in listeners.of(worker)]
        # If no other worker serves, this one has to answer even if Redis or the database cannot be reached.
        waits = ["wait"] if self._answers and not any(child.is_steady for child in self._workers) else []
        drains = ["drain"] if self._stop_requested.is_set() else []
        return self._command("web", ",".join(map(str, descriptors)), *waits, *drains, pass_fds=tuple(descriptors))

    def _persister_command(self) -> Forked:
        if not self._starvation_watch.has_low_priority:
            return self._command("persist")
        return self._command(
            "persist", str(self._starvation_watch.descriptor), pass_fds=(self._starvation_watch.descriptor,)
        )

    def _command(self, *arguments: str, pass_fds: tuple[int, ...] = ()) -> Forked:
        # It inherits the folder's lock, so that the next start after a SIGKILL waits until the port is free, too.
        return Forked(partial(entry_point.main, arguments), self._settings_json, (self._folder.lock, *pass_fds))

    def _child(self, name: str, command: Callable[[], Command | Forked]) -> ChildProcess:
        child = ChildProcess(name, command, report, self._describe)
        self._children.append(child)
        return child

    def _may_restart(self, child: ChildProcess, code: int) -> bool:
        """Before the service has answered once, a child that exits with EXIT_WRONG_SETTING is not restarted."""
        if child in self._workers and child.deaths and self._listeners is not None:
            # The second death in a row: new connections should go to the other workers meanwhile.
            self._listeners.close_sockets(self._workers.index(child) + 1)
        if code == EXIT_BEHIND:
            self._starvation_watch.disable()
        return self._answers or code != EXIT_WRONG_SETTING

    async def _first_answer(self, url: str) -> None:
        """Returns when a worker answers. Raises StartFailed if a child finds wrong settings or keeps dying."""
        while not await answers(url):
            for child in self._children:
                if child.exit_code == EXIT_WRONG_SETTING:
                    raise StartFailed("", EXIT_WRONG_SETTING)
                if child.deaths_in_all >= START_DEATHS_MAX:  # all deaths count: on a busy machine each may take long
                    raise StartFailed(f"{child.name} died {child.deaths_in_all} times at its start")
            await asyncio.sleep(0.05)

    async def _drain(self) -> None:
        """Serves on for BOOKING_DRAIN_SECONDS while /healthz answers 503, so that proxies go to other nodes first."""
        if not self._answers or not self._settings.drain_seconds:
            return
        for child in self._workers:
            child.send(DRAIN_SIGNAL)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_seconds):
                await self._stop_now.wait()

    async def _stop(self) -> None:
        """Stops the children in order: web workers, persister, embedded server."""
        self._stop_requested.set()
        if self._listeners is not None:
            self._listeners.close()
        for task in self._tasks:
            task.cancel()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for names, limit_seconds in STOP_ORDER:
            left_seconds = max(0.1, begun + limit_seconds - loop.time())
            children = [child for child in self._children if child.name.startswith(names)]
            for child in children:
                if child.name == "persister" and child.pid is not None:
                    restore_priority(child.pid)  # it drains the streams now, which a busy machine may hold up too long
            await asyncio.gather(*(child.stop(left_seconds) for child in children))
        self._starvation_watch.close()
        if self._embedded is not None:
            self._embedded.remove_socket()

    def _on_signal(self) -> None:
        if not self._stop_requested.is_set():
            drains = (
                f"in {self._settings.drain_seconds:g} s, " if self._answers and self._settings.drain_seconds else ""
            )
            report(f"stopping: {drains}requests in flight are finished first (a second signal kills them)")
            self._stop_requested.set()
            return
        self._stop_now.set()
        report("killing all processes except Redis")
        for child in self._children:
            if child.name != "redis":
                child.kill()

    def _reap(self) -> None:
        for child in self._children:
            child.reap()

    def _describe(self) -> None:
        """Writes service.json, once the service has answered."""
        if self._answers and self._listeners is not None:
            self._folder.describe(
                {
                    "pid": os.getpid(),
                    "url": self._listeners.url,
                    "port": self._listeners.port,
                    "parts": {child.name: child.pid for child in self._children if child.pid is not None},
                }
            )


def report(line: str) -> None:
    """Writes a line to standard error, which waits for no reader (`logs.never_wait`)."""
    if sys.stderr is not None:
        sys.stderr.write(f"booking: {line}\n")
