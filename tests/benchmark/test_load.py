"""What `load.lua` has wrk send, by wrk itself where it is installed."""

import asyncio
import re
import shutil
from pathlib import Path
from typing import cast

import pytest

from scripts.benchmark.sales import Sale
from scripts.benchmark.wrk import Shot, shoot

pytestmark = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")

ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"


async def seen(tmp_path: Path, path: str, **sale: object) -> tuple[Shot, list[tuple[str, str]]]:
    """What a server of the test's own received in a second: heads and bodies."""
    requests: list[tuple[str, str]] = []
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"Content-Length: (\d+)", head)
                body = (await reader.readexactly(int(length[1]))).decode() if length else ""
                requests.append((head, body))
                writer.write(ANSWER)
                await asyncio.sleep(0.05)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    tokens = tmp_path / "tokens"
    tokens.write_text("".join(f"token-{number}\n" for number in range(20_000)))
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"
        shot = await asyncio.to_thread(shoot, Sale(url, **sale), tokens, 1)  # type: ignore[arg-type]  # what is given is in the calls below
        await asyncio.gather(*serving)  # wrk has closed its connections
    return shot, requests


def token(head: str) -> str:
    return head.split("Bearer ")[1].split("\r\n")[0]


async def test_every_booking_has_a_token_of_its_own(tmp_path: Path) -> None:
    shot, requests = await seen(tmp_path, "/book", body='{"event_id": 7}', event_id=7)
    assert 0 < shot.load.requests <= len(requests)
    assert {body for _, body in requests} == {'{"event_id": 7}'}
    assert len({token(head) for head, _ in requests}) == len(requests)


async def test_buyers_who_spread_come_to_each_event_in_turn(tmp_path: Path) -> None:
    _, requests = await seen(tmp_path, "/book", body="each of them", event_id=8, events=5)
    visits = [sum(body == f'{{"event_id": {event}}}' for _, body in requests) for event in range(8, 13)]
    assert sum(visits) == len(requests)  # nothing else was sent, and whole: event 9 and event 10 differ in length
    assert max(visits) - min(visits) <= 1


async def test_those_who_look_at_what_is_theirs_come_again_with_the_same_tokens(tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.write_text("ada\ngrace\njoan\n")
    _, requests = await seen(tmp_path, "/events/7/booking", body="", event_id=7, lookers=few)
    assert {head.split(" HTTP")[0] for head, _ in requests} == {"GET /events/7/booking"}
    visits = [sum(token(head) == name for head, _ in requests) for name in ("ada", "grace", "joan")]
    assert sum(visits) == len(requests) > 3
    assert max(visits) - min(visits) <= 1


async def test_whoever_just_looks_shows_no_token(tmp_path: Path) -> None:
    _, requests = await seen(tmp_path, "/status/7", body="", event_id=7)
    assert requests
    assert not any("Authorization" in head for head, _ in requests)
