"""The served OpenAPI document, its pages, and a run of schemathesis."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.commands import run_command
from tests.fixtures.documented import Documented

from .api import Api

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
HREF = re.compile(r'(?:href|src)="(/[^"#]*)"')
PATIENCE_SECONDS = 300
EXAMPLES = 1
"""Generated requests for each operation, besides every boundary value."""


def test_the_document_is_served_as_it_is_printed(api: Api) -> None:
    served = api.http.get("/openapi.json")
    assert served.headers["content-type"] == "application/json"
    printed = run_command(["openapi"], api.environment)
    assert json.loads(printed.stdout) == served.json()


def test_the_document_is_not_sent_again_to_a_client_that_has_it(api: Api) -> None:
    etag = api.http.get("/openapi.json").headers["etag"]
    again = api.http.get("/openapi.json", headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


def test_the_pages_load_only_files_that_the_service_serves(api: Api) -> None:
    for path in ("/docs", "/problems", "/problems/sold_out"):
        page = api.http.get(path)
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        if path == "/docs":  # RapiDoc has styles in its elements
            policy = policy.replace("style-src 'self' 'unsafe-inline'; ", "", 1)
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in page.text
        found = set(HREF.findall(page.text))
        assert any(name.endswith(".css") for name in found)
        for name in found:
            assert api.http.get(name).status_code == 200, name


def test_the_pages_link_to_each_other(api: Api) -> None:
    assert 'href="/docs"' in api.http.get("/problems/sold_out").text
    assert 'href="/problems/sold_out"' in api.http.get("/problems").text
    assert 'href="/problems"' in api.http.get("/docs").text
    assert 'href="/openapi.json"' in api.http.get("/docs").text


@pytest.mark.timeout(2 * PATIENCE_SECONDS)
def test_schemathesis_finds_nothing(api: Api, tmp_path: Path) -> None:
    api.event(available_tickets=1_000, max_per_user=4)
    token = (api.organizer.authorization or "").removeprefix("Bearer ")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "run"]
    command += [f"{api.base_url}/openapi.json", "--phases", "examples,coverage,fuzzing"]
    command += ["--max-examples", str(EXAMPLES), "--seed", "1", "--generation-deterministic", "--no-color"]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "BOOKING_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-8_000:] + run.stderr[-2_000:]
    assert "No issues found" in run.stdout or re.search(r"(\d+) generated, \1 passed", run.stdout), run.stdout[-3_000:]


def test_an_answer_that_is_not_in_the_document_is_detected(api: Api) -> None:
    described = api.http.get("/openapi.json").json()
    event_id = api.event()
    answer = api.http.get(f"/events/{event_id}")
    headers = {name: value for name, value in answer.headers.items() if name != "etag"}

    def faults(status: int, body: object) -> list[str]:
        content = json.dumps(body).encode()
        return Documented(described).faults("GET", f"/events/{event_id}", status, answer.headers, content)

    whole = answer.json()
    assert faults(200, whole) == []
    assert faults(201, whole) != []
    assert faults(200, {**whole, "more": 1}) != []
    assert faults(200, {**whole, "data": {**whole["data"], "more": 1}}) != []
    assert faults(200, {**whole, "data": {**whole["data"], "seq": "1"}}) != []
    assert faults(200, {**whole, "data": {**whole["data"], "state": "asleep"}}) != []
    assert faults(200, {**whole, "data": {**whole["data"], "created_at": "yesterday"}}) != []
    judge = Documented(described)
    assert judge.faults("GET", f"/events/{event_id}", 200, headers, answer.content) != []
    assert judge.faults("GET", "/nowhere", 200, answer.headers, answer.content) != []
    text = {**dict(answer.headers), "content-type": "text/plain"}
    assert judge.faults("GET", f"/events/{event_id}", 200, text, answer.content) != []
