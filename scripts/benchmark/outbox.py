"""The row of the outbox: bookings that are told to a webhook while another one hangs, against bookings that are not.

python -m scripts.benchmark.outbox        a receiver: its two ports, and then, once standard input ends, what it got
"""

import asyncio
import json
import re
import subprocess
import sys
import time
from contextlib import closing

import httptools
import httpx

from booking.auth.tokens import sign_token
from scripts.benchmark.load import TOKEN_S, Target
from scripts.benchmark.processes import PartError
from scripts.benchmark.report import Mark, ratio_mark
from scripts.benchmark.rounds import Contender, Parts
from scripts.benchmark.service import Service, serve
from scripts.benchmark.session import Session

SETTINGS = {"BOOKING_WEBHOOK_ALLOW": "127.0.0.0/8"}

BUCKET = re.compile(r'booking_webhook_first_attempt_seconds_bucket\{le="([^"]+)"\} (\d+)')

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


class Told:
    """The service while a webhook is told of every booking, and another one never answers."""

    def __init__(self, service: Service, secret: str) -> None:
        self._service = service
        token = sign_token(secret.encode(), "organizer", "organizer", TOKEN_S)
        self._client = httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {token}"}, timeout=10)
        self._receiver = subprocess.Popen(
            [sys.executable, "-P", "-m", "scripts.benchmark.outbox"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._receiver.stdout is not None
        self._ports: list[int] = json.loads(self._receiver.stdout.readline())
        self._webhooks: list[int] = []
        self.began = time.monotonic()

    def open(self) -> Target:
        """A fresh event with two webhooks. Those of the event before are removed."""
        sale = self._service.sale()
        self.remove()
        for port in self._ports:
            body = {"url": f"http://127.0.0.1:{port}/", "kinds": ["booked"], "event_id": sale.event_id}
            answer = self._client.post("/webhooks", json=body)
            if answer.status_code != httpx.codes.CREATED:
                raise PartError(f"/webhooks answered {answer.status_code}: {answer.text[:300]}")
            self._webhooks.append(answer.json()["data"]["id"])
        return sale

    def parts(self) -> Parts:
        """The service's, and the receiver's process."""
        return {**self._service.parts(), "listeners": [self._receiver.pid]}

    def remove(self) -> None:
        """Removes the webhooks, so that a round without them is told to nobody."""
        for webhook_id in self._webhooks:
            self._client.delete(f"/webhooks/{webhook_id}")
        self._webhooks.clear()

    def settle(self) -> list[str]:
        """Ends a round."""
        faults = self._service.settle()
        self.remove()
        return faults

    def first_attempt_s(self) -> float:
        """The bucket below which 99 of 100 first attempts were made after their change; infinite above the last."""
        buckets = [(float(bound), int(below)) for bound, below in BUCKET.findall(self._client.get("/metrics").text)]
        total = buckets[-1][1] if buckets else 0
        return next((bound for bound, below in buckets if below >= 0.99 * total), float("inf"))

    def close(self) -> int:
        """Ends the receiver. Returns the number of messages that it got."""
        self._client.close()
        told, _ = self._receiver.communicate("")
        messages: int = json.loads(told)
        return messages


def outbox(session: Session) -> None:
    """One service, whose bookings are told in every other round."""
    name, alone = "told to a webhook, and to a dead one", "told to nobody"
    with serve(session.folder / "service-outbox", session.secret, settings=SETTINGS) as service:
        told = Told(service, session.secret)
        try:
            contests = session.contest(
                "Bookings and webhooks",
                {
                    alone: service.contender(),
                    name: Contender(told.open, told.parts, service.stored, told.settle),
                },
            )
            late_s = told.first_attempt_s()
        finally:
            messages = told.close()
    seconds = (session.rounds + 1) * session.seconds  # one more to warm up
    session.mark(
        ratio_mark(f"bookings while they are {name}", contests[name], contests[alone], 0.95),
        Mark("  messages that the webhook got, of one event, in order", messages / seconds, "/s"),
        Mark("  99 % of the first attempts came within", late_s, "s", most=1),
    )


class _Receiver(asyncio.Protocol):
    """Answers each message at once, and counts it."""

    messages = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        _Receiver.messages += 1
        assert isinstance(self._transport, asyncio.WriteTransport)
        self._transport.write(NO_CONTENT)


async def main() -> None:
    """Receives until standard input ends."""
    loop = asyncio.get_running_loop()
    alive = await loop.create_server(_Receiver, "127.0.0.1", 0)
    dead = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    with closing(alive), closing(dead):
        print(json.dumps([server.sockets[0].getsockname()[1] for server in (alive, dead)]), flush=True)
        await loop.run_in_executor(None, sys.stdin.read)
        print(json.dumps(_Receiver.messages), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
