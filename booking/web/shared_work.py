"""Long reads: one at a time, once for all who ask the same question, and not for clients that have gone."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import Any, TypeVar

from starlette.types import Receive

from booking.web.requests import ClientGone, until_disconnected

Answer = TypeVar("Answer")

Work = Callable[[Callable[[], None]], Awaitable[Answer]]
"""Answers a question. It calls its argument before each part of the work; that raises Abandoned if nobody waits."""


class Abandoned(Exception):
    """All clients that waited for the answer have gone."""


class Job:
    """The work on one question."""

    def __init__(self) -> None:
        self.askers = 0
        self.has_begun = False
        self.task: asyncio.Task[Any] | None = None

    def check(self) -> None:
        """Raises Abandoned if no client waits for the answer."""
        if not self.askers:
            raise Abandoned


class SharedWork:
    """Works on one question at a time, in the order in which they were first asked."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting: dict[Hashable, Job] = {}
        """The jobs that have not begun. A client may join them: their answer shows what is there when they begin."""
        self._tasks: set[asyncio.Task[Any]] = set()

    async def answer(self, receive: Receive, question: Hashable, work: Work[Answer]) -> Answer:
        """The answer of `work`, or of the same question's work if that has not begun. Raises ClientGone."""
        job = self._waiting.get(question)
        if job is None:
            job = self._waiting[question] = Job()
            job.task = asyncio.create_task(self._run(job, question, work))
            self._tasks.add(job.task)
            job.task.add_done_callback(self._ended)
        assert job.task is not None
        job.askers += 1
        gone = asyncio.ensure_future(until_disconnected(receive))
        try:
            await asyncio.wait((job.task, gone), return_when=asyncio.FIRST_COMPLETED)
            if not job.task.done():
                raise ClientGone
            result: Answer = job.task.result()
            return result
        finally:
            gone.cancel()
            job.askers -= 1
            if not job.askers and not job.has_begun:
                job.task.cancel()
                if self._waiting.get(question) is job:
                    del self._waiting[question]

    async def close(self) -> None:
        """Ends all work."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, job: Job, question: Hashable, work: Work[Answer]) -> Answer:
        async with self._turn:
            del self._waiting[question]
            job.has_begun = True
            return await work(job.check)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        with suppress(asyncio.CancelledError):
            task.exception()  # the askers raise it; without askers nobody does, and asyncio would log it
