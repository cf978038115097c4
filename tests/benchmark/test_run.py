"""Which marks and remarks come of the rounds."""

from scripts.benchmark.figures import OTHERS, Load, Round
from scripts.benchmark.report import Contest
from scripts.benchmark.run import EMPTY, NAIVE, ONE_WORKER, TUNED, remarks, throughput_marks

TWO_WORKERS = "this service, 2 workers"


def contests(
    two_workers: int = 12_000, cores: dict[str, float] | None = None, fault: str | None = None
) -> dict[str, Contest]:
    rates = {EMPTY: 10_000, TUNED: 22_000, NAIVE: 2_000, ONE_WORKER: 11_000, TWO_WORKERS: two_workers}
    faults = () if fault is None else (fault,)
    return {
        name: Contest(name, 1, [Round(Load(rate, 1.0, 0, 0, 1, 2, 3), cores or {"server": 1.0}, faults)])
        for name, rate in rates.items()
    }


def test_the_marks_hold_one_worker_against_each_rival() -> None:
    empty, tuned, naive, _ = throughput_marks(contests())
    assert (empty.value, empty.least, empty.reached) == (1.1, 1.0, True)
    assert (tuned.value, tuned.reached) == (0.5, None)
    assert (naive.value, naive.least, naive.reached) == (5.5, 4.0, True)


def test_more_workers_are_held_against_one_even_where_they_are_slower() -> None:
    assert throughput_marks(contests())[3].value == 12 / 11
    assert throughput_marks(contests(two_workers=9_900))[3].value == 0.9


def test_what_spoils_a_figure_is_said_in_words() -> None:
    def said(**given: object) -> str:
        return "\n".join(remarks(contests(**given)))  # type: ignore[arg-type]  # what is given is in the calls below

    plain = said()
    assert "lower bound" not in plain
    assert "not to be trusted" not in plain
    assert "Other programs" not in plain
    assert "lower bound" in said(cores={"generator": 0.95, "server": 0.4})
    assert "not to be trusted: 3 requests were refused" in said(fault="3 requests were refused")
    assert "Other programs took 0.7 to 0.7 cores" in said(cores={"server": 0.9, OTHERS: 0.7})
