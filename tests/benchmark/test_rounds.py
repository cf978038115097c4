"""Whose turn it is, and when."""

from pathlib import Path

import pytest

from scripts.benchmark import processes, rounds, wrk
from scripts.benchmark.figures import OTHERS, Load
from scripts.benchmark.rounds import take_turns, wait_for_quiet
from scripts.benchmark.sales import Sale
from scripts.benchmark.tokens import Buyers
from scripts.benchmark.wrk import Shot


class Recorder:
    """A contender that notes its turns; `faulty` ones find fault with every round."""

    servers = 1

    def __init__(self, name: str, faulty: bool = False) -> None:
        self.name = name
        self.faulty = faulty

    def open_sale(self) -> Sale:
        return Sale(f"http://{self.name}", "{}", 1)

    def parts(self) -> dict[str, list[int]]:
        return {"server": []}

    def faults(self, sale: Sale, load: Load) -> list[str]:
        assert sale.url == f"http://{self.name}"
        return [f"{load.refused} requests were refused"] * self.faulty


@pytest.fixture
def shots(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, frozenset[str]]]:
    """Where each shot went, and whose tokens it carried, with a generator that takes no time."""
    fired: list[tuple[str, frozenset[str]]] = []

    def shoot(sale: Sale, tokens: Path, seconds: int) -> Shot:
        fired.append((sale.url.removeprefix("http://"), frozenset(tokens.read_text().split())))
        return Shot(Load(100, seconds, 7, 0, 1, 2, 3), generator_cpu_s=0.0)

    monkeypatch.setattr(wrk, "shoot", shoot)
    monkeypatch.setattr(rounds, "wait_for_quiet", lambda: True)
    monkeypatch.setattr(rounds, "REQUESTS_PER_S_MAX", 5)
    return fired


def test_the_contenders_take_turns_after_a_warm_up(tmp_path: Path, shots: list[tuple[str, frozenset[str]]]) -> None:
    taken = take_turns({"a": Recorder("a"), "b": Recorder("b")}, Buyers(tmp_path, b"s" * 32, 0), 2, 1, lambda _: None)
    assert [name for name, _ in shots] == ["a", "b", "a", "b", "a", "b"]
    assert {name: len(of) for name, of in taken.items()} == {"a": 2, "b": 2}


def test_no_contender_ever_sees_a_token_twice_and_no_file_of_tokens_is_left(
    tmp_path: Path, shots: list[tuple[str, frozenset[str]]]
) -> None:
    take_turns({"a": Recorder("a"), "b": Recorder("b")}, Buyers(tmp_path, b"s" * 32, 0), 3, 2, lambda _: None)
    of_a = [tokens for name, tokens in shots if name == "a"]
    assert sum(len(tokens) for tokens in of_a) == len(frozenset().union(*of_a)) == 5 + 3 * 2 * 5
    assert list(tmp_path.iterdir()) == []


def test_a_round_that_cannot_be_trusted_is_said_so_and_kept(
    tmp_path: Path, shots: list[tuple[str, frozenset[str]]]
) -> None:
    said: list[str] = []
    taken = take_turns({"a": Recorder("a", faulty=True)}, Buyers(tmp_path, b"s" * 32, 0), 1, 1, said.append)
    assert taken["a"][0].faults == ("7 requests were refused",)
    assert any("not to be trusted: 7 requests were refused" in line for line in said)
    assert taken["a"][0].cores[OTHERS] >= 0


@pytest.mark.parametrize(("busy_cores", "quiet"), [(0.0, True), (1.0, False)])
def test_a_turn_waits_for_a_machine_at_rest_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, busy_cores: float, quiet: bool
) -> None:
    class Clock:
        now_s = 0.0

        def monotonic(self) -> float:
            return self.now_s

        def sleep(self, seconds: float) -> None:
            self.now_s += seconds

    clock = Clock()
    monkeypatch.setattr(rounds, "time", clock)
    monkeypatch.setattr(processes, "machine_cpu_s", lambda: clock.now_s * busy_cores)
    assert wait_for_quiet(patience_s=5) is quiet
    assert (clock.now_s > 5) is not quiet
