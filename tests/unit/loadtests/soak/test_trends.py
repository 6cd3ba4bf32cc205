"""What grows without bound is found; what is only noisy, cyclic, or filled once is not."""

from collections.abc import Callable
from random import Random

import pytest

from loadtests.soak.verdict.trends import (
    DAY_SECONDS,
    Flat,
    Point,
    Proportional,
    judge_flat,
    judge_proportional,
    judge_quarters,
    trend,
)

HOUR = 3_600
MEMORY = Flat(a_day=100.0, seen_from=2.0)
ENTRIES = [Point(at, 300.0 * at) for at in range(0, HOUR, 10)]
MIB_OF_WAL = Proportional(seen_from=16.0)


def over_an_hour(value: Callable[[float], float]) -> list[Point]:
    return [Point(at, value(at)) for at in range(0, HOUR, 10)]


def grows(points: list[Point]) -> bool:
    return judge_flat("memory of gateway-1", "MiB", points, MEMORY).grows


def test_a_leak_of_200_mib_a_day_is_seen_in_an_hour() -> None:
    leak = over_an_hour(lambda at: 80 + 200 * at / DAY_SECONDS)
    verdict = judge_flat("memory of gateway-1", "MiB", leak, MEMORY)
    assert verdict.grows
    assert verdict.sentence == (
        "memory of gateway-1 grows by 200 MiB a day: by 4.14 MiB in the last 29.8 minutes,"
        " to 88.3 MiB"
    )


def test_a_leak_is_seen_through_noise_and_outliers() -> None:
    chance = Random(7)
    assert grows(
        over_an_hour(
            lambda at: (
                80 + 400 * at / DAY_SECONDS + chance.gauss(0, 2) + 50 * (chance.random() < 0.05)
            )
        )
    )


def test_a_leak_in_steps_is_seen() -> None:
    assert grows(over_an_hour(lambda at: 80 + 3 * (at // 600)))


def test_noise_is_no_growth() -> None:
    for seed in range(20):
        chance = Random(seed)
        assert not grows(over_an_hour(lambda _at, c=chance: 80 + c.gauss(0, 3)))


def test_what_goes_up_and_down_again_is_no_growth() -> None:
    # A table until its vacuum, memory until its collection.
    assert not grows(over_an_hour(lambda at: 80 + at % 300 / 10))


def test_what_fills_once_is_no_growth() -> None:
    assert not grows(over_an_hour(lambda at: min(at / 10, 150)))


def test_a_single_high_point_at_the_end_is_no_growth() -> None:
    assert not grows(over_an_hour(lambda at: 500 if at > HOUR - 60 else 80))


def test_what_shrinks_is_no_growth() -> None:
    assert not grows(over_an_hour(lambda at: 200 - at / 100))


def test_a_slow_trend_within_the_bound_is_none() -> None:
    assert not grows(over_an_hour(lambda at: 80 + 90 * at / DAY_SECONDS))


def test_a_rise_too_small_for_a_short_run_is_none() -> None:
    # A tenth of a MiB within a minute would be 144 a day.
    assert not grows([Point(at, 80 + at / 600) for at in range(0, 120, 2)])


def test_two_points_are_too_few() -> None:
    verdict = judge_flat("memory", "MiB", [Point(0, 1), Point(10, 1_000)], MEMORY)
    assert not verdict.grows
    assert "too few" in verdict.sentence


def test_the_trend_of_many_points_is_that_of_all() -> None:
    assert trend([Point(at, 3.0 * at) for at in range(5_000)]) == pytest.approx(3.0)


def test_what_each_sale_adds_as_much_to_is_in_proportion() -> None:
    wal = over_an_hour(lambda at: 40 + 0.5 * at)
    verdict = judge_proportional("WAL", "MiB", wal, ENTRIES, MIB_OF_WAL)
    assert not verdict.grows
    assert verdict.sentence == "WAL: 1.67 MiB for each thousand entries"


def test_what_each_sale_adds_more_and_more_to_grows_faster_than_the_sales() -> None:
    wal = over_an_hour(lambda at: 40 + 0.0005 * at * at)
    verdict = judge_proportional("WAL", "MiB", wal, ENTRIES, MIB_OF_WAL)
    assert verdict.grows
    assert "faster than the sales: 8.98 MiB" in verdict.sentence


def test_it_is_in_proportion_to_sales_and_not_to_time() -> None:
    # Twice as many sales in the second half, and twice the WAL.
    entries = over_an_hour(lambda at: 100 * at + 100 * max(0, at - HOUR / 2))
    wal = over_an_hour(lambda at: 0.1 * at + 0.1 * max(0, at - HOUR / 2))
    assert not judge_proportional("WAL", "MiB", wal, entries, MIB_OF_WAL).grows
    assert judge_proportional("WAL", "MiB", wal, ENTRIES, MIB_OF_WAL).grows


def test_what_has_begun_late_may_add_a_little() -> None:
    few = over_an_hour(lambda at: max(0.0, at - HOUR * 3 / 4) / 100)
    assert not judge_proportional("table", "MiB", few, ENTRIES, MIB_OF_WAL).grows


def test_without_sales_nothing_is_judged_by_them() -> None:
    none = over_an_hour(lambda _at: 5.0)
    verdict = judge_proportional("WAL", "MiB", none, none, MIB_OF_WAL)
    assert not verdict.grows
    assert "too few" in verdict.sentence


@pytest.mark.parametrize(
    ("last", "grown"),
    [
        pytest.param(12.0, False, id="as fast"),
        pytest.param(19.0, False, id="slower by less than what is noise"),
        pytest.param(40.0, True, id="four times as slow"),
    ],
)
def test_the_last_quarter_is_compared_with_the_first(last: float, grown: bool) -> None:
    p99 = [Point(minute, 10.0 if minute < 30 else last) for minute in range(60)]
    assert judge_quarters("p99", "ms", p99, times_max=1.5, seen_from=10.0).grows is grown


def test_one_slow_minute_is_not_a_slow_quarter() -> None:
    p99 = [Point(minute, 500.0 if minute == 58 else 10.0) for minute in range(60)]
    assert not judge_quarters("p99", "ms", p99, times_max=1.5, seen_from=10.0).grows


def test_three_minutes_have_no_quarters() -> None:
    p99 = [Point(0, 1.0), Point(1, 1.0), Point(2, 900.0)]
    assert "too few" in judge_quarters("p99", "ms", p99, times_max=1.5, seen_from=10.0).sentence
