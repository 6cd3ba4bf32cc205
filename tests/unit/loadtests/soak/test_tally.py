"""What the load saw, and when its latencies are those of too few."""

import time

import pytest

from loadtests.soak.load.tally import NOTHING_DECIDED, LoadTally


def tally_of(*, asked: int, refused: int, decided: int) -> LoadTally:
    tally = LoadTally()
    tally.begin()
    for number in range(asked):
        tally.answered(503 if number < refused else 202)
    for _ in range(decided):
        tally.decided(time.monotonic())
    return tally


@pytest.mark.parametrize(
    ("refused", "errors"),
    [(0, []), (10, []), (11, ["11 of 1,000 purchases were refused with 503"])],
)
def test_a_hundredth_of_the_purchases_may_be_refused(refused: int, errors: list[str]) -> None:
    assert tally_of(asked=1_000, refused=refused, decided=1).report().errors == errors


def test_a_run_without_a_decision_is_not_good() -> None:
    assert tally_of(asked=1_000, refused=0, decided=0).report().errors == [NOTHING_DECIDED]


def test_decisions_of_earlier_minutes_count() -> None:
    tally = tally_of(asked=2, refused=0, decided=1)
    tally.end_minute()
    assert tally.report().errors == []


def test_each_kind_of_error_is_counted_with_its_first_example() -> None:
    tally = tally_of(asked=1, refused=0, decided=1)
    tally.error("not decided", "by poll")
    tally.error("not decided", "by stream")
    assert tally.report().errors == ["2 times not decided, first: by poll"]
