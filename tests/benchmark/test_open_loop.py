"""Open-loop load, against a server of the test's own."""

import asyncio
import itertools
from pathlib import Path

import pytest

from scripts.benchmark.open_loop import OpenLoad, Plan, due_times, is_whole, offer

ANSWER = b"HTTP/1.1 %d Fine\r\nContent-Length: 2\r\n\r\nok"


def test_as_many_requests_fall_due_as_the_rate_says() -> None:
    times = due_times(1_000, 10, seed=7)
    assert len(times) == pytest.approx(10_000, rel=0.05)
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 10


def test_the_same_seed_gives_the_same_arrivals() -> None:
    assert due_times(500, 2, seed=1) == due_times(500, 2, seed=1) != due_times(500, 2, seed=2)


@pytest.mark.parametrize("cut", range(1, len(ANSWER % 200)))
def test_an_answer_cut_anywhere_is_not_whole(cut: int) -> None:
    assert not is_whole((ANSWER % 200)[:cut])


def test_an_answer_with_its_whole_body_is_whole_however_its_header_is_spelled() -> None:
    assert is_whole(ANSWER % 200)
    assert is_whole((ANSWER % 200).lower())


async def offered(tmp_path: Path, answers: list[bytes], number: int = 60) -> tuple[OpenLoad, list[bytes]]:
    """Offers about `number` requests to a server that answers in turn; an empty answer closes the connection."""
    seen: list[bytes] = []
    turn = itertools.cycle(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            seen.append(head + await reader.readexactly(2))
            answer = next(turn)
            for part in (answer[:20], answer[20:]):
                writer.write(part)
                await asyncio.sleep(0.001)
            if not answer:
                break
        writer.close()

    async def serve_until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    tokens = tmp_path / "tokens"
    tokens.write_text("".join(f"token-{n}\n" for n in range(number * 2)))
    async with await asyncio.start_server(serve_until_gone, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        plan = Plan(f"http://127.0.0.1:{port}/book", "{}", str(tokens), number, 1, seed=3)
        return await asyncio.to_thread(offer, plan), seen


async def test_every_request_carries_a_token_of_its_own_and_is_answered(tmp_path: Path) -> None:
    load, seen = await offered(tmp_path, [ANSWER % 201])
    tokens = [head.split(b"Bearer ")[1].split(b"\r\n")[0] for head in seen]
    assert load.answered == len(seen) == len(set(tokens)) > 30
    assert (load.unanswered, load.refused) == (0, 0)
    assert seen[0].startswith(b"POST /book HTTP/1.1\r\n")
    assert 0 < load.p50_ms <= load.p99_ms <= load.max_ms


async def test_refusals_and_lost_connections_are_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    load, seen = await offered(tmp_path, [ANSWER % 201, ANSWER % 409, b""])
    assert load.answered + load.unanswered == len(seen)
    assert load.refused == pytest.approx(len(seen) / 3, abs=1)
    assert load.unanswered == pytest.approx(len(seen) / 3, abs=1)
