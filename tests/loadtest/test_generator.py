"""Open and closed loop, and the outcome of calls if connections or the service fail."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from booking.loadtest.calls import Kind
from booking.loadtest.plan import Plan, draw_intents
from booking.loadtest.process import ReadTimeout
from booking.loadtest.records import Found, Seen
from booking.loadtest.workload import ATTEMPTS_MAX, SaleWorkload
from tests.fixtures.servers import listening
from tests.loadtest.lying_service import LyingService
from tests.loadtest.sale import PLAN, drive, play, play_here, workload_of

PEM = serialization.Encoding.PEM


@asynccontextmanager
async def answering(
    answer: Callable[[int], bytes | None], after_seconds: float = 0.0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that answers its nth request, from 0, with `answer(n)`, or not at all if that is None.

    Yields its address and a counter of its requests.
    """
    requests = [0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b"Content-Length: " in head:
                await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]))
            data = answer(requests[0])
            requests[0] += 1
            await asyncio.sleep(after_seconds)
            if data is not None:
                writer.write(data)

    async with listening(serve, tls=tls) as port:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}", requests


def answer(status: int, body: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s" % (status, head, len(body), body)


async def test_an_open_loop_sells_the_same_sale() -> None:
    outcome = await play(LyingService(), replace(PLAN, rate=1_000.0))
    assert outcome.findings.examples == {}
    assert outcome.event["tickets_sold"] == PLAN.tickets
    assert outcome.figures.lateness.count >= outcome.figures.answered > PLAN.buyers


async def test_a_sale_runs_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")]), datetime.now(UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = built.add_extension(address, critical=False).sign(key, hashes.SHA256())
    pem = tmp_path / "service.pem"
    pem.write_bytes(
        key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(PEM)
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    booked = b'{"data": {"id": "1-%d", "quantity": 1, "status": "confirmed"}}'
    plan = replace(PLAN, buyers=20, status_share=0.0, cancel_share=0.0)
    async with answering(lambda n: answer(201, booked % (n + 2)), tls=tls) as (url, requests):
        workload = workload_of(replace(plan, url=url))
        await drive(replace(plan, url=url), workload)
    assert workload.recorder.results[Kind.BOOK, "201"] == 20 <= requests[0]


async def test_an_open_loop_does_not_wait_for_answers() -> None:
    plan = replace(PLAN, buyers=20, rate=1_000.0, connections=1, timeout_seconds=1.0, status_share=0.0)
    async with answering(lambda _: None) as (url, requests):
        workload = workload_of(replace(plan, url=url))
        await drive(replace(plan, url=url), workload)
    asked_twice = sum(intent.again for intent in draw_intents(plan))
    assert requests == [20 + asked_twice]
    assert workload.recorder.results[Kind.BOOK, "no answer in time"] == 20


async def test_an_arrival_time_without_a_call_is_not_counted_as_a_wait() -> None:
    booked = b'{"data": {"id": "1-%d", "quantity": 1, "status": "confirmed"}}'
    later = answer(503, b'{"code": "overloaded"}', b"Retry-After: 2\r\n")
    plan = replace(PLAN, buyers=5, rate=200.0, status_share=0.0, cancel_share=0.0)
    async with answering(lambda n: later if n == 4 else answer(201, booked % n)) as (url, requests):
        workload = workload_of(replace(plan, url=url))
        await drive(replace(plan, url=url), workload)
    assert requests == [6]
    assert workload.latencies[Kind.BOOK].max_ns < 1_500_000_000  # the last answer said to wait 2 s


async def test_a_service_that_never_answers_leaves_every_outcome_unknown() -> None:
    plan = replace(PLAN, buyers=8, timeout_seconds=0.2)
    async with answering(lambda _: None) as (url, _):
        workload = workload_of(replace(plan, url=url))
        await drive(replace(plan, url=url), workload)
    assert all(record.seen & Seen.UNKNOWN for record in workload.recorder.buyers.values())
    assert workload.recorder.findings.examples == {}


async def test_a_refused_call_is_retried_a_bounded_number_of_times() -> None:
    busy = answer(503, b'{"code": "overloaded"}', b"Retry-After: 0\r\n")
    plan = replace(PLAN, buyers=1, status_share=0.0, connections=1)
    async with answering(lambda _: busy) as (url, requests):
        workload = workload_of(replace(plan, url=url))
        await drive(replace(plan, url=url), workload)
    assert requests == [ATTEMPTS_MAX]
    # Every refusal was definite, so no outcome is unknown and nothing was booked.
    assert workload.recorder.buyers[0].seen == Seen.SENT


async def test_a_read_that_is_always_refused_leaves_the_booking_unread() -> None:
    plan = replace(PLAN, buyers=1, status_share=0.0, connections=1)
    booked = answer(201, b'{"data": {"id": "1-2", "status": "confirmed"}}')
    busy = answer(503, b'{"code": "overloaded"}', b"Retry-After: 0\r\n")
    async with answering(lambda n: booked if n == 0 else busy) as (url, _):
        workload = workload_of(replace(plan, url=url))
        await drive(replace(plan, url=url), workload)
        workload.read_back()
        await drive(replace(plan, url=url), workload)
    assert workload.recorder.buyers[0].seen == Seen.SENT | Seen.BOOKED
    assert workload.recorder.buyers[0].found is Found.UNREAD


async def test_an_answer_that_is_not_http_is_an_unknown_outcome_and_no_crash() -> None:
    plan = replace(PLAN, buyers=3, status_share=0.0, connections=1)
    async with answering(lambda _: b"220 smtp\r\n\r\n") as (url, _):
        workload = workload_of(replace(plan, url=url))
        await drive(replace(plan, url=url), workload)
    assert workload.recorder.results[Kind.BOOK, "a response without a Content-Length"] == 3
    assert all(record.seen == Seen.SENT | Seen.UNKNOWN for record in workload.recorder.buyers.values())


async def test_the_sale_ends_when_its_time_is_up() -> None:
    workload, findings = await play_here(LyingService(), replace(PLAN, rate=50.0, seconds_max=0.5))
    assert 0 < sum(bool(record.seen) for record in workload.recorder.buyers.values()) < PLAN.buyers
    assert findings.examples == {}


async def test_a_service_that_ends_leaves_bookings_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("booking.loadtest.generator.CONNECT_FAILURES_MAX", 3)
    plan = replace(PLAN, buyers=1, status_share=0.0, connections=2)
    async with answering(lambda _: answer(201, b'{"data": {"id": "1-2"}}')) as (url, _):
        workload = workload_of(replace(plan, url=url))
        await drive(replace(plan, url=url), workload)
    workload.read_back()
    generator = await drive(replace(plan, url=url), workload)
    assert generator.refused_connections == 4
    assert workload.recorder.buyers[0].found is Found.UNREAD


async def test_an_open_loop_ends_if_no_connection_can_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("booking.loadtest.generator.CONNECT_FAILURES_MAX", 2)
    plan = replace(PLAN, url="http://127.0.0.1:1", rate=1_000.0, seconds_max=600.0)
    async with asyncio.timeout(60):
        await drive(plan, workload_of(plan))


async def test_waits_for_busy_connections_are_not_counted_as_lateness(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("booking.loadtest.process.CONNECTIONS_MAX", 2)
    plan = replace(PLAN, buyers=20, rate=2_000.0, connections=1, status_share=0.0, cancel_share=0.0)
    booked = b'{"data": {"id": "1-%d", "quantity": 1, "status": "confirmed"}}'
    async with answering(lambda n: answer(201, booked % (n + 2)), after_seconds=0.05) as (url, requests):
        generator = await drive(replace(plan, url=url), workload_of(replace(plan, url=url)))
    assert generator.kept_waiting.count >= requests[0] - 4
    assert generator.kept_waiting.max_ns > 50_000_000
    assert generator.away_ns == 0


async def test_calls_that_find_a_free_connection_have_not_waited() -> None:
    plan = replace(PLAN, buyers=10, rate=20.0, status_share=0.0, cancel_share=0.0)  # 8 connections, 50 ms apart
    booked = b'{"data": {"id": "1-%d", "quantity": 1, "status": "confirmed"}}'
    async with answering(lambda n: answer(201, booked % (n + 2))) as (url, _):
        generator = await drive(replace(plan, url=url), workload_of(replace(plan, url=url)))
    assert (generator.kept_waiting.count, generator.away_ns) == (0, 0)


@pytest.mark.parametrize("rate", [None, 1_000.0], ids=["closed loop", "open loop"])
async def test_if_no_connection_can_be_opened_the_service_is_away_and_no_call_late(
    rate: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("booking.loadtest.generator.CONNECT_FAILURES_MAX", 4)
    plan = replace(PLAN, url="http://127.0.0.1:1", rate=rate)
    generator = await drive(plan, workload_of(plan))
    assert generator.away_ns > 0
    assert generator.kept_waiting.count == 0
    assert generator.lateness.count < 100


async def read(plan: Plan, silence_seconds_max: float) -> SaleWorkload:
    """Reads every buyer's booking, as after a sale in which all buyers took part."""
    workload = workload_of(plan)
    for record in workload.recorder.buyers.values():
        record.seen = Seen.SENT
    workload.read_back()
    await drive(plan, workload, ReadTimeout(workload, silence_seconds_max).close_if_over)
    return workload


@pytest.mark.parametrize(
    "reply", [None, answer(503, b'{"code": "overloaded"}', b"Retry-After: 2\r\n")], ids=["silence", "refusals"]
)
async def test_reading_ends_if_nothing_could_be_read_for_too_long(reply: bytes | None) -> None:
    async with answering(lambda _: reply) as (url, requests):
        workload = await read(replace(PLAN, url=url, buyers=1_000, connections=1, timeout_seconds=0.1), 0.3)
    assert workload.closed
    assert all(record.found is Found.UNREAD for record in workload.recorder.buyers.values())
    assert requests[0] > 1


async def test_reading_continues_while_it_makes_progress() -> None:
    reply = answer(200, b'{"data": {"id": "1-2", "quantity": 1, "status": "confirmed"}}')
    absent = answer(404, b'{"code": "booking_not_found"}')
    async with answering(lambda n: reply if n % 2 else absent, after_seconds=0.05) as (url, _):
        workload = await read(replace(PLAN, url=url, buyers=40, connections=1), 1.0)
    assert not workload.closed
    assert all(record.found is not Found.UNREAD for record in workload.recorder.buyers.values())
