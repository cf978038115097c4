"""Thousands of clients disconnect at random moments: no client gets another's answer, and nothing is left behind."""

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.fixtures.service import running_service
from tests.fixtures.waiting import eventually_async
from tests.processes.connections import connections, lines, look, open_sale, request

CALLERS = 2_000
AT_ONCE = 100
TICKETS = 1_000


async def test_no_client_gets_anothers_answer_while_others_leave(tmp_path: Path, seed: int) -> None:
    with running_service(tmp_path / "data", {"BOOKING_RATE_LIMIT": "off"}) as service:
        event_id = open_sale(service, TICKETS)
        worker = service.parts()["worker-1"]
        turns = asyncio.Semaphore(AT_ONCE)
        told: dict[str, str] = {}

        async def call(number: int) -> None:
            chance = random.Random(f"{seed}/{number}")  # one per client, so that the order of the calls has no effect
            nonce = f"nonce-{number}-{chance.getrandbits(48):x}"
            async with turns, lines(service.base_url, 1) as (line,):
                line.writer.write(request("POST", "/book", service.token(nonce), {"event_id": event_id}))
                if chance.random() < 0.6:
                    await asyncio.sleep(chance.random() * 0.05)
                    return  # and the connection is aborted
                status, _, body = await line.answer()
                if status == 503:
                    assert body["code"] == "overloaded"
                    return
                assert status in (201, 202)
                assert body["data"]["user_id"] == nonce
                told[nonce] = body["data"]["id"]
                line.writer.write(request("GET", f"/events/{event_id}/booking", service.token(nonce)))
                status, _, body = await line.answer()
                if status != 503:
                    assert (status, body["data"]["user_id"], body["data"]["id"]) == (200, nonce, told[nonce])

        await asyncio.gather(*(call(number) for number in range(CALLERS)))
        assert len(told) > 100
        assert len(set(told.values())) == len(told)
        await eventually_async(lambda: connections(worker) == 0, "every connection is closed on both sides")
        event = look(service, event_id)
        assert event["tickets_sold"] + event["available_tickets"] == TICKETS
        assert event["seq"] == 1 + event["bookings_count"] + event["waiting_list_count"], "a change is incomplete"
    assert "Traceback" not in service.output


async def test_a_stopping_service_answers_every_client_and_persists_every_change(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", {"BOOKING_RATE_LIMIT": "off", "BOOKING_WORKERS": "2"}) as service:
        event_id = open_sale(service)
        told: list[str] = []
        going = asyncio.Event()

        async def keep_buying(buyer: int) -> str:
            """Buys until an answer says that it is the connection's last."""
            async with lines(service.base_url, 1) as (line,):
                for number in range(100_000):
                    user = f"{buyer}-{number}"
                    line.writer.write(request("POST", "/book", service.token(user), {"event_id": event_id}))
                    status, headers, body = await line.answer()
                    assert status == 201, body
                    told.append(body["data"]["id"])
                    if len(told) > 200:
                        going.set()
                    if headers.get("connection") == "close":
                        return "told"
            return "never"

        buyers = [asyncio.create_task(keep_buying(buyer)) for buyer in range(32)]
        async with asyncio.timeout(60):
            await going.wait()
        code = await asyncio.to_thread(service.stop)
        assert code == 0
        assert set(await asyncio.gather(*buyers)) == {"told"}, "a connection ended without its answer"
        assert "killed" not in service.output, "the service did not end by itself in time"
        in_sql = await asyncio.to_thread(booking_ids, tmp_path / "data" / "booking.sqlite3")
        assert set(told) <= in_sql, "the stream was not drained before the end"
        service.start()


def booking_ids(database: Path) -> set[str]:
    """The bookings that a database file holds, by their ids."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return {f"{event}-{number}" for event, number in connection.execute("SELECT event_id, number FROM bookings")}
