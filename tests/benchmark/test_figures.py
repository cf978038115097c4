"""The sums over rounds."""

import pytest

from scripts.benchmark.figures import OTHERS, Load, Round, bottleneck, median_cores, quantile, ratio, spread


def a_round(cores: dict[str, float]) -> Round:
    return Round(Load(1_000, 2.0, refused=0, broken=0, p50_ms=1, p99_ms=2, max_ms=3), cores)


def test_a_rate_is_what_was_answered_over_the_time_it_took() -> None:
    assert a_round({}).load.per_second == 500


def test_the_servers_time_for_a_request_does_not_depend_on_how_much_of_the_machine_it_got() -> None:
    load = Load(1_000, 2.0, refused=0, broken=0, p50_ms=1, p99_ms=2, max_ms=3)
    slowed = Load(500, 2.0, refused=0, broken=0, p50_ms=2, p99_ms=4, max_ms=6)
    assert Round(load, {"server": 0.1, "redis": 0.5}).server_us == Round(slowed, {"server": 0.05}).server_us == 200


def test_the_time_of_all_parts_leaves_out_the_generator_and_other_programs() -> None:
    cores = {"server": 0.5, "redis": 0.25, "persister": 0.25, "generator": 0.4, OTHERS: 0.3}
    assert a_round(cores).all_us == 2_000


def test_a_spread_is_the_median_between_the_extremes() -> None:
    assert (spread([3, 1, 2]).median, spread([3, 1, 2]).least, spread([3, 1, 2]).greatest) == (2, 1, 3)


def test_a_spread_in_percent_is_half_the_width_over_the_median() -> None:
    assert spread([90, 100, 110]).percent == pytest.approx(10)


def test_a_spread_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        spread([])


def test_a_ratio_is_taken_round_by_round_so_that_a_slow_hour_falls_out() -> None:
    # The machine halves its speed in the second round; medians over all rounds would hide that ours stayed ahead.
    assert ratio([200, 100, 220], [100, 50, 110]).median == 2
    assert ratio([200, 100, 220], [100, 50, 110]).percent == 0


@pytest.mark.parametrize("theirs", [[1], [1, 0]])
def test_a_ratio_needs_rounds_in_pairs_with_something_measured(theirs: list[float]) -> None:
    with pytest.raises(ValueError, match="in pairs"):
        ratio([1, 2], theirs)


def test_cores_are_medians_by_role_and_a_part_that_was_missing_used_none() -> None:
    rounds = [a_round({"server": 1.0}), a_round({"server": 0.8, "redis": 0.4}), a_round({"server": 0.9, "redis": 0.2})]
    assert median_cores(rounds) == {"server": 0.9, "redis": 0.2}


@pytest.mark.parametrize(
    ("cores", "servers", "limit"),
    [
        ({"generator": 0.95, "server": 0.99}, 1, "generator"),
        ({"generator": 0.4, "server": 0.95, "redis": 0.2}, 1, "server"),
        ({"generator": 0.4, "server": 0.95, "redis": 0.2}, 2, "none"),
        ({"generator": 0.2, "server": 0.5, "redis": 0.95}, 1, "redis"),
        ({"generator": 0.5, "server": 1.0, "redis": 0.25, "persister": 0.2}, 2, "machine"),
        ({"generator": 0.1, "server": 0.2}, 1, "none"),
    ],
)
def test_the_limit_is_the_part_that_had_no_more_to_give(cores: dict[str, float], servers: int, limit: str) -> None:
    assert bottleneck(cores, machine_cores=2, servers=servers) == limit


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)])
def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed(share: float, value: float) -> None:
    assert quantile(list(range(100, 0, -1)), share) == value


def test_a_quantile_of_nothing_is_nothing() -> None:
    assert quantile([], 0.99) == 0
