"""What the load generator prints, and what is made of it."""

import json

import pytest

from scripts.benchmark.wrk import LoadError, missing, parse

FIGURES = {
    "duration_us": 2_000_000,
    "requests": 30_000,
    "connect": 1,
    "read": 2,
    "write": 3,
    "timeout": 4,
    "status": 5,
    "p50_us": 3_200,
    "p99_us": 9_870,
    "max_us": 40_001,
    "exhausted": False,
}


def printed(**changed: object) -> str:
    return f"Running 2s test @ http://127.0.0.1\n  1 threads\nfigures {json.dumps(FIGURES | changed)}\n"


def test_the_figures_are_read_out_of_everything_else_that_wrk_prints() -> None:
    load = parse(printed())
    assert (load.requests, load.duration_s, load.per_second) == (30_000, 2.0, 15_000)
    assert (load.p50_ms, load.p99_ms, load.max_ms) == (3.2, 9.87, 40.001)


def test_refusals_and_broken_connections_are_counted_apart() -> None:
    load = parse(printed())
    assert (load.refused, load.broken) == (5, 10)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("unable to connect to 127.0.0.1:1 Connection refused", "Connection refused"),
        ("", "nothing at all"),
        (printed(exhausted=True), "tokens ran out after 30000"),
        (printed(requests=0), "not one request"),
    ],
)
def test_a_round_without_figures_to_trust_is_refused_and_says_why(output: str, why: str) -> None:
    with pytest.raises(LoadError, match=why):
        parse(output)


def test_without_wrk_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("os.geteuid", lambda: 1_000)
    told = missing()
    assert told is not None
    assert "apt install wrk" in told
    assert "\n" not in told


def test_with_wrk_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert missing() is None
