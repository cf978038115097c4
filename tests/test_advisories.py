"""scripts/audit distinguishes a known vulnerability, its absence, and unreachable advisory services."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts import advisories
from scripts.advisories import CANARY, CLEAN, LOCK, NOT_AUDITED, VULNERABLE, main, read

HOLES = {"jinja2": "2.10", "starlette": "0.27.0"}


@contextmanager
def osv(holes: dict[str, str]) -> Iterator[str]:
    """An OSV service that knows of a hole in one version of each of these."""

    class Service(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = asked["package"]["name"]
            ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "0.40.0"}]}]
            affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": ranges}]
            found = {"id": "GHSA-1", "aliases": ["CVE-1"], "summary": "s", "details": "d", "affected": affected}
            body = json.dumps({"vulns": [found]} if holes.get(name) == asked["version"] else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


def audit(tmp_path: Path, address: str, pins: str) -> int:
    lock = tmp_path / "some.lock"
    lock.write_text(pins)
    return main(["--osv-url", address, "--lock", str(lock)])


def test_a_vulnerable_pin_is_caught_and_a_mended_one_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with osv(HOLES) as address:
        assert audit(tmp_path, address, "starlette==0.27.0\nredis==8.1.0\n") == VULNERABLE
        hole, verdict = capsys.readouterr().out.splitlines()
        assert hole == "starlette 0.27.0: CVE-1 = GHSA-1, fixed in 0.40.0"
        assert verdict.startswith("dependency audit: 1 known hole in 2 packages")
        assert audit(tmp_path, address, "starlette==1.10.0\nredis==8.1.0\n") == CLEAN
        assert capsys.readouterr().out.startswith("dependency audit: 0 known holes in 2 packages")


def test_an_advisory_service_without_any_advisory_is_not_trusted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with osv({}) as address:
        assert audit(tmp_path, address, "starlette==1.10.0\n") == NOT_AUDITED
    assert audit(tmp_path, "http://127.0.0.1:1/v1/query", "starlette==1.10.0\n") == NOT_AUDITED
    assert [line.startswith("dependency audit: NOT DONE") for line in capsys.readouterr().out.splitlines()] == [
        True
    ] * 2


def test_the_canary_is_asked_about_by_its_own_version_and_the_lock_holds_no_such_pin() -> None:
    name, _, version = CANARY.partition("==")
    assert HOLES[name] == version
    assert not any(line.startswith(CANARY) for line in LOCK.read_text(encoding="utf-8").splitlines())


def test_pip_audits_report_is_read() -> None:
    report = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": [], "aliases": ["CVE-1"]}]},
            {"name": "b", "version": "2", "vulns": []},
            {"name": "c", "skip_reason": "not found"},
        ],
        "fixes": [],
    }
    audited = read(json.dumps(report))
    assert (audited.asked, audited.unknown) == (2, ["c"])
    assert list(map(str, audited.holes)) == ["a 1: PYSEC-1 = CVE-1, no version fixes it yet"]
    for text in ("", "[]", "{}"):
        with pytest.raises((ValueError, KeyError, TypeError)):
            read(text)


def test_the_services_that_everybody_has_are_asked_in_turn() -> None:
    assert [name for name, _ in advisories.services(None)] == ["PyPI", "OSV"]
