"""Webhooks as a receiver in JavaScript sees them, which verifies them with the public library of that language."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.contract.api import Api
from tests.contract.client import Caller
from tests.fixtures.packages import NPM_CI, PROGRAM_SECONDS_MAX, install
from tests.outbox.test_webhooks import call, event

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.skipif(shutil.which("npm") is None, reason="node and npm are not installed"),
    pytest.mark.timeout(2 * PROGRAM_SECONDS_MAX),
]


@dataclass(frozen=True, slots=True)
class Program:
    """A running receiver."""

    process: "subprocess.Popen[str]"
    port: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/hook"

    def use(self, secret: str) -> None:
        """Gives it the secret to verify with."""
        assert self.process.stdin is not None
        print(secret, file=self.process.stdin, flush=True)
        assert self.said() == "ready"

    def said(self) -> Any:
        """What it says next: each message that it accepts."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


@contextmanager
def receiving(folder: Path) -> Iterator[Program]:
    """Runs the receiver, from a folder of its own. It ends with its standard input."""
    shutil.copytree(HERE / "node", folder, dirs_exist_ok=True)
    install(folder, *NPM_CI)
    with subprocess.Popen(
        ["node", "receiver.js"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield Program(process, json.loads(process.stdout.readline()))


def signed(secret: str, body: str, at: datetime) -> dict[str, str]:
    """The fields of a message that was signed at a time."""
    fields = {"webhook-id": "1-1-1", "webhook-timestamp": str(int(at.timestamp()))}
    return {**fields, "webhook-signature": Webhook(secret).sign(fields["webhook-id"], at, body)}


def test_the_javascript_library_accepts_what_is_sent_and_nothing_else(
    api: Api, organizer: Caller, tmp_path: Path
) -> None:
    with receiving(tmp_path) as program:
        own, other = (organizer.post("/webhooks", {"url": program.url, "kinds": ["booked"]}).data for _ in range(2))
        program.use(own["secret"])
        answer = call(organizer, "POST", own, "/test").data
        assert (answer["delivered"], answer["status"]) == (True, 204)
        assert program.said()["type"] == "webhook.test"
        # A message that another secret has signed.
        answer = call(organizer, "POST", other, "/test").data
        assert (answer["status"], answer["answer"]) == (400, "No matching signature found")
        assert call(organizer, "DELETE", other).status == 200
        event_id = event(organizer)
        api.user().book(event_id)
        told = program.said()
        assert (told["type"], told["id"]) == ("booking.booked", f"{own['id']}-{event_id}-2")
        # What was sent, signed now, an hour ago, and for another text.
        now, body = datetime.now(UTC), told["body"]
        for text, at, expected in (
            (body, now, (204, "")),
            (body, now - timedelta(hours=1), (400, "Message timestamp too old")),
            (body.replace("booking.booked", "booking.confirmed"), now, (400, "No matching signature found")),
        ):
            received = httpx.post(program.url, content=text, headers=signed(own["secret"], body, at))
            assert (received.status_code, received.text) == expected
