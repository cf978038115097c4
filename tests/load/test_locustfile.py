"""The locustfile's buyers buy from a real service, with a stub for Locust and with Locust if it is installed."""

import argparse
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest

from tests.fixtures.service import RunningService
from tests.load.events import open_event, read_event

LOCUSTFILE = Path(__file__).parents[2] / "scripts/load/locustfile.py"


class Events:
    """Keeps the listeners that the locustfile registers."""

    def __init__(self) -> None:
        self.init_command_line_parser = SimpleNamespace(add_listener=self._keep("options"))
        self.test_start = SimpleNamespace(add_listener=self._keep("start"))
        self.listeners: dict[str, Callable[..., None]] = {}

    def _keep(self, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
        def add(listener: Callable[..., None]) -> Callable[..., None]:
            self.listeners[name] = listener
            return listener

        return add


class Client:
    """Makes the calls and counts them by name and failure."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.counted: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def request(self, method: str, path: str, *, name: str, catch_response: bool, **more: Any) -> Iterator[Any]:
        assert catch_response
        answer = httpx.request(method, self._url + path, **more)
        verdicts: list[str] = []
        response = SimpleNamespace(
            status_code=answer.status_code,
            json=answer.json,
            request_meta={"name": name},
            success=lambda: verdicts.append(""),
            failure=verdicts.append,
        )
        yield response
        (verdict,) = verdicts
        self.counted[response.request_meta["name"], verdict] += 1


class Locust:
    """The loaded locustfile. `options` are its command-line options."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, host: str, *arguments: str) -> None:
        events = Events()
        user = type("FastHttpUser", (), {})
        modules: dict[str, dict[str, Any]] = {
            "locust": {"FastHttpUser": user, "events": events, "task": lambda function: function},
            "locust.argument_parser": {"LocustArgumentParser": object},
            "locust.env": {"Environment": object},
            "locust.runners": {"WorkerRunner": type("WorkerRunner", (), {})},
        }
        for name, content in modules.items():
            module = ModuleType(name)
            vars(module).update(content)
            monkeypatch.setitem(sys.modules, name, module)
        self.file = runpy.run_path(str(LOCUSTFILE))
        self.options = parsed(events.listeners["options"], arguments)
        self.quits = 0
        runner = SimpleNamespace(quit=self._quit)
        self.environment = SimpleNamespace(
            host=host, parsed_options=self.options, runner=runner, process_exit_code=None
        )
        self._start = events.listeners["start"]
        self.client = Client(host)

    def _quit(self) -> None:
        self.quits += 1

    def start(self) -> None:
        self._start(self.environment)

    def user(self) -> Any:
        user = self.file["Buyer"]()
        user.environment, user.client = self.environment, self.client
        user.on_start()
        return user


def parsed(add_options: Callable[..., None], arguments: tuple[str, ...]) -> argparse.Namespace:
    """The options as Locust's parser reads them, each with the name of its environment variable."""
    parser = argparse.ArgumentParser()

    def add_argument(option: str, *, env_var: str, **more: Any) -> None:
        assert env_var == option.removeprefix("--").replace("-", "_").upper()
        parser.add_argument(option, **more)

    add_options(SimpleNamespace(add_argument_group=lambda _: SimpleNamespace(add_argument=add_argument)))
    return parser.parse_args(arguments)


@pytest.fixture(autouse=True)
def secret(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKING_JWT_SECRET", service.secret)


def test_every_iteration_of_every_user_is_a_new_buyer(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    locust = Locust(monkeypatch, service.url, "--tickets", "3", "--cancel", "0", "--status", "1")
    locust.start()
    users = [locust.user(), locust.user()]
    for _ in range(2):
        for user in users:
            user.buy()
    assert locust.client.counted == {("status 200", ""): 4, ("book 201", ""): 3, ("book 202", ""): 1}
    event = read_event(service, locust.options.event_id)
    assert (event["tickets_sold"], event["waiting_list_count"]) == (3, 1)


def test_a_buyer_with_a_booking_may_cancel_and_a_refusal_is_no_failure(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = open_event(service, tickets=1, waitlist_limit=0)
    options = ("--event-id", str(event_id), "--status", "0", "--cancel")
    locust = Locust(monkeypatch, service.url, *options, "1")
    locust.start()
    locust.user().buy()
    assert locust.client.counted == {("book 201", ""): 1, ("cancel 200", ""): 1}
    staying = Locust(monkeypatch, service.url, *options, "0")
    staying.user().buy()
    refused = Locust(monkeypatch, service.url, *options, "1")
    refused.user().buy()
    assert refused.client.counted == {("book 409 sold_out", ""): 1}


def test_an_unexpected_answer_is_a_failure(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    locust = Locust(monkeypatch, service.url, "--event-id", "999999", "--status", "1")
    locust.user().buy()
    assert locust.client.counted == {("status", "404 event_not_found"): 1, ("book", "404 event_not_found"): 1}
    monkeypatch.setenv("BOOKING_JWT_SECRET", "another service's secret, just as long as it needs")
    stranger = Locust(monkeypatch, service.url, "--event-id", "1", "--status", "0")
    stranger.user().buy()
    assert stranger.client.counted == {("book", "401 unauthenticated"): 1}


def test_an_unreachable_service_ends_the_run_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    locust = Locust(monkeypatch, "http://127.0.0.1:9")
    locust.start()
    assert (locust.quits, locust.environment.process_exit_code) == (1, 2)
    assert "can't be reached" in capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("locust"), reason="Locust is not installed")
def test_locust_runs_the_locustfile(service: RunningService, tmp_path: Path) -> None:
    command = ["locust", "-f", str(LOCUSTFILE), "--headless", "-u", "4", "-r", "4", "-t", "6s", "--host", service.url]
    ran = subprocess.run(
        [*command, "--tickets", "5", "--json"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    answers = {row["name"]: row["num_requests"] for row in json.loads(ran.stdout)}
    assert answers["book 201"] >= 5
    assert answers["book 202"] > 0
