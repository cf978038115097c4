"""Which marks come of the rounds beside the rivals."""

from scripts.benchmark.figures import Load, Round
from scripts.benchmark.report import Contest
from scripts.benchmark.throughput import EMPTY, EMPTY_LOOK, NAIVE, ONE_WORKER, STORM, TUNED, throughput_marks


def a_contest(name: str, rate: int, servers: int = 1) -> Contest:
    return Contest(name, servers, [Round(Load(rate, 1.0, 0, 0, 1, 2, 3), {"server": 1.0})])


def contests(**more: int) -> dict[str, Contest]:
    rates = {EMPTY: 10_000, TUNED: 22_000, NAIVE: 2_000, ONE_WORKER: 11_000}
    workers = {f"this service, {count} workers": a_contest("several", rate, int(count)) for count, rate in more.items()}
    return {name: a_contest(name, rate) for name, rate in rates.items()} | workers


def test_the_marks_hold_one_worker_against_each_rival() -> None:
    empty, tuned, naive = throughput_marks(contests())
    assert (empty.value, empty.against, empty.theirs) == (11_000, EMPTY, 10_000)
    assert (empty.ratio, empty.least, empty.reached) == (1.1, 1.0, True)
    assert (tuned.ratio, tuned.reached) == (0.5, None)
    assert (naive.ratio, naive.least, naive.reached) == (5.5, 4.0, True)


def test_the_best_worker_count_is_named_and_held_against_one() -> None:
    best = throughput_marks(contests(**{"2": 12_100, "3": 9_900}))[3]
    assert "best worker count: 2 (of 1, 2, 3)" in best.what
    assert (best.ratio, best.reached) == (1.1, True)


def test_one_worker_may_be_the_best_count() -> None:
    best = throughput_marks(contests(**{"2": 9_900}))[3]
    assert "best worker count: 1 (of 1, 2)" in best.what
    assert (best.ratio, best.reached) == (1.0, True)


def test_a_storm_by_itself_is_held_against_the_empty_get() -> None:
    (storm,) = throughput_marks({STORM: a_contest(STORM, 9_000), EMPTY_LOOK: a_contest(EMPTY_LOOK, 10_000)})
    assert (storm.ratio, storm.least, storm.reached) == (0.9, 0.8, True)


def test_where_only_latency_was_asked_for_the_rounds_give_no_marks() -> None:
    assert throughput_marks({name: contests()[name] for name in (EMPTY, ONE_WORKER)}) == []
