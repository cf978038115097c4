"""The sender connects to the address that was checked, and a bad receiver costs it a bounded amount."""

import asyncio
import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from booking.outbox import sender as module
from booking.outbox.addresses import Allowed, Target, read_url
from booking.outbox.sender import Answer, Pool, Sender
from tests.fixtures.servers import Serve, listening
from tests.fixtures.tls import make_authority

LOOPBACK = Allowed(("127.0.0.0/8",))
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def answering(*answers: bytes, requests: list[bytes] | None = None) -> Serve:
    """Reads one request for each answer, on each connection, and then closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            if requests is not None:
                requests.append(head + body)
            writer.write(answer)
        writer.close()

    return serve


def resolving(*looks: Sequence[str]) -> tuple[module.Resolve, list[str]]:
    """A resolver that answers each look-up with the next addresses, and the names that it was asked for."""
    names: list[str] = []

    async def resolve(host: str, _: int) -> Sequence[str]:
        names.append(host)
        return looks[min(len(names), len(looks)) - 1]

    return resolve, names


async def post(sender: Sender, pool: Pool, body: bytes = b"{}") -> Answer:
    return await sender.send(pool, b"webhook-id: 1-1-1\r\n", body)


def pool_of(port: int, host: str = "127.0.0.1") -> Pool:
    return Pool(Target(False, host, port, "/hook?a=b"))


async def test_a_message_arrives_as_it_is() -> None:
    requests: list[bytes] = []
    async with listening(answering(NO_CONTENT, requests=requests)) as port:
        answer = await post(Sender(LOOPBACK), pool_of(port), b'{"a":1}')
    assert (answer.status, answer.error) == (204, None)
    (request,) = requests
    head, _, body = request.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    assert (first, body) == (b"POST /hook?a=b HTTP/1.1", b'{"a":1}')
    assert {b"host: 127.0.0.1:%d" % port, b"content-type: application/json", b"webhook-id: 1-1-1"} <= set(fields)


@pytest.mark.parametrize("second", ["127.0.0.1", "169.254.169.254", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_inside_on_a_later_look_is_not_connected_to(second: str) -> None:
    requests: list[bytes] = []
    async with listening(answering(NO_CONTENT, requests=requests)) as port:
        allowed = Allowed(("127.0.0.2",))  # stands for a public address
        resolve, names = resolving(["127.0.0.2"], [second])
        sender, pool = Sender(allowed, resolve), pool_of(port, "rebinding.example")
        async with listening(answering(NO_CONTENT, requests=requests), "127.0.0.2", port):
            first = await post(sender, pool)
        again = await post(sender, pool)
    assert (first.status, len(requests)) == (204, 1)
    assert again.status is None
    assert again.error is not None
    assert again.error.startswith(f"{ip_address(second)} is not")
    assert names == ["rebinding.example"] * 2


async def test_a_connection_is_made_to_the_address_that_was_checked_by_one_look() -> None:
    async with listening(answering(NO_CONTENT)) as port:
        resolve, names = resolving(["10.0.0.1", "127.0.0.1"], ["10.0.0.1"])
        answer = await post(Sender(LOOPBACK, resolve), pool_of(port, "two.example"))
    assert (answer.status, names) == (204, ["two.example"])


async def test_the_certificate_has_to_be_the_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = make_authority(tmp_path, "good.example")
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
    resolve, _ = resolving(["127.0.0.1"])
    async with listening(answering(NO_CONTENT), tls=authority.server) as port:
        good = await post(Sender(LOOPBACK, resolve), Pool(read_url(f"https://good.example:{port}/", LOOPBACK)))
        other = await post(Sender(LOOPBACK, resolve), Pool(read_url(f"https://other.example:{port}/", LOOPBACK)))
    assert (good.status, good.error) == (204, None)
    assert other.status is None
    assert other.error is not None
    assert other.error.startswith("The certificate is not valid for this host")


async def test_a_connection_is_used_again_and_one_that_was_closed_is_replaced() -> None:
    requests: list[bytes] = []
    connections: list[object] = []
    twice = answering(NO_CONTENT, NO_CONTENT, requests=requests)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await twice(reader, writer)

    async with listening(serve) as port:
        sender, pool = Sender(LOOPBACK), pool_of(port)
        answers = [await post(sender, pool) for _ in range(4)]
        pool.close()
    assert [answer.status for answer in answers] == [204] * 4
    assert (len(requests), len(connections)) == (4, 2)


async def test_a_receiver_that_stands_still_costs_ten_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS_MAX", 0.2)
    left = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the sender closes the connection
        left.set()
        writer.close()

    async with listening(silent) as port:
        answer = await post(Sender(LOOPBACK), pool_of(port))
        await asyncio.wait_for(left.wait(), 20)
    assert (answer.status, answer.error) == (None, "There was no answer within 0.2 s.")


async def test_an_endless_answer_counts_by_its_status_and_is_not_read_on() -> None:
    closed = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 x\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        except ConnectionError:
            closed.set()

    async with listening(endless) as port:
        answer = await post(Sender(LOOPBACK), pool_of(port))
        await asyncio.wait_for(closed.wait(), 20)
    assert answer.status == 500
    assert answer.body == b"x" * module.SHOWN_BYTES


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", "The connection failed (it was closed without an answer)."),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "What was answered is no HTTP/1.1."),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, "What was answered is no HTTP/1.1."),
    ],
)
async def test_what_is_no_answer_is_told_as_such(sent: bytes, error: str) -> None:
    async with listening(answering(sent)) as port:
        answer = await post(Sender(LOOPBACK), pool_of(port))
    assert (answer.status, answer.error) == (None, error)


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", 202, b""),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, b"ok"),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 1000\r\n\r\ncut off", 503, b"cut off"),
    ],
)
async def test_every_form_of_an_answer_is_understood(sent: bytes, status: int, body: bytes) -> None:
    async with listening(answering(sent)) as port:
        answer = await post(Sender(LOOPBACK), pool_of(port))
    assert (answer.status, answer.body) == (status, body)


async def test_a_name_is_looked_up_and_one_that_does_not_exist_is_told_as_such() -> None:
    async with listening(answering(NO_CONTENT)) as port:
        answer = await post(Sender(Allowed(("127.0.0.0/8", "::1"))), pool_of(port, "localhost"))
    assert answer.status == 204
    nowhere = await post(Sender(LOOPBACK), pool_of(80, "nowhere.invalid"))
    assert nowhere.error is not None
    assert nowhere.error.startswith("The name cannot be resolved")


async def test_a_refused_connection_is_told_as_such() -> None:
    async with listening(answering(NO_CONTENT)) as port:
        pass
    answer = await post(Sender(LOOPBACK), pool_of(port))
    assert answer.status is None
    assert answer.error is not None
    assert answer.error.startswith("The connection failed (")
