"""Long reads: one at a time, once for all who ask, and not for clients that have gone."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message

from booking.web.requests import ClientGone
from booking.web.shared_work import SharedWork
from tests.fixtures.waiting import eventually_async

Work = Callable[[Callable[[], None]], Awaitable[str]]


class Client:
    """A client that stays until `leave`."""

    def __init__(self) -> None:
        self._gone = asyncio.Event()
        self._said = False

    async def receive(self) -> Message:
        if not self._said:
            self._said = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    def leave(self) -> None:
        self._gone.set()


class Worker:
    """Notes which questions were worked on, each until `gate` is open."""

    def __init__(self) -> None:
        self.work = SharedWork()
        self.gate = asyncio.Event()
        self.begun: list[str] = []
        self.done: list[str] = []

    def ask(self, question: str, client: Client | None = None) -> "asyncio.Task[str]":
        async def work(check: Callable[[], None]) -> str:
            self.begun.append(question)
            await self.gate.wait()
            check()
            self.done.append(question)
            return f"{question} {len(self.done)}"

        return asyncio.create_task(self.work.answer((client or Client()).receive, question, work))

    async def begins(self, question: str) -> None:
        await eventually_async(lambda: question in self.begun, f"{question} is worked on")


async def test_a_question_that_waits_is_answered_once_for_all_who_ask_it() -> None:
    worker = Worker()
    first = worker.ask("large")
    await worker.begins("large")
    same = [worker.ask("small") for _ in range(30)]
    await asyncio.sleep(0)
    worker.gate.set()
    assert await first == "large 1"
    assert set(await asyncio.gather(*same)) == {"small 2"}
    assert worker.begun == ["large", "small"]


async def test_who_asks_after_the_work_has_begun_gets_a_newer_answer() -> None:
    worker = Worker()
    first = worker.ask("same")
    await worker.begins("same")
    second = worker.ask("same")
    await asyncio.sleep(0)
    worker.gate.set()
    assert (await first, await second) == ("same 1", "same 2")


async def test_who_has_gone_is_not_worked_for() -> None:
    worker = Worker()
    clients = [Client() for _ in range(30)]
    asked = [worker.ask(f"large {number}", client) for number, client in enumerate(clients)]
    await worker.begins("large 0")
    tiny = worker.ask("tiny")
    for client in clients:
        client.leave()
    assert {type(one) for one in await asyncio.gather(*asked, return_exceptions=True)} == {ClientGone}
    worker.gate.set()
    assert await tiny == "tiny 1", "no other was finished before"
    assert worker.begun == ["large 0", "tiny"]


async def test_one_who_stays_is_answered_although_others_have_gone() -> None:
    worker = Worker()
    leaving = Client()
    gone, stays = worker.ask("same", leaving), worker.ask("same")
    await worker.begins("same")
    leaving.leave()
    with pytest.raises(ClientGone):
        await gone
    worker.gate.set()
    assert await stays == "same 1"


async def test_all_who_ask_are_told_of_a_failure() -> None:
    work = SharedWork()

    async def fails(_: Callable[[], None]) -> Any:
        raise ZeroDivisionError

    asked = [asyncio.create_task(work.answer(Client().receive, "question", fails)) for _ in range(3)]
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(one) for one in told} == {ZeroDivisionError}


async def test_a_stop_ends_the_work() -> None:
    worker = Worker()
    asked = worker.ask("large")
    await worker.begins("large")
    await worker.work.close()
    with pytest.raises(asyncio.CancelledError):
        await asked
