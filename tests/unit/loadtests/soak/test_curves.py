"""Each curve of a soak has its rule, and no table is without one."""

from collections.abc import Callable
from random import Random

import pytest

from loadtests.bench.load.latency import LatencySummary
from loadtests.soak.load.tally import Minute
from loadtests.soak.sampling.sample import Sample, curves, curves_of, since
from loadtests.soak.verdict.curves import COME_AND_GO, GROW_WITH_SALES, KINDS, judge, kind_of
from loadtests.soak.verdict.trends import Point
from shared.database.tables import Base

HOUR = 3_600
ALEMBICS_OWN = {"alembic_version"}


def samples_of(figure: str, value: Callable[[float], float]) -> list[Sample]:
    """Of an hour in which 300 entries came each second."""
    return [Sample(at, {"entries": 300.0 * at, figure: value(at)}) for at in range(0, HOUR, 10)]


def growing(samples: list[Sample], minutes: list[Minute] | None = None) -> list[str]:
    return [verdict.sentence for verdict in judge(samples, minutes or []) if verdict.grows]


def test_of_every_table_it_is_said_whether_it_may_grow() -> None:
    assert not COME_AND_GO & GROW_WITH_SALES
    assert {*Base.metadata.tables} | ALEMBICS_OWN == COME_AND_GO | GROW_WITH_SALES


def test_a_table_of_which_nothing_is_said_is_an_error() -> None:
    with pytest.raises(KeyError, match="letters"):
        kind_of("relation_mib:letters/letters_pkey")


@pytest.mark.parametrize("kind", KINDS)
def test_what_grows_ever_faster_is_found_in_each_kind(kind: str) -> None:
    def quadratic(at: float) -> float:
        return 0.01 * at * at

    (sentence,) = growing(samples_of(f"{kind}:one", quadratic))
    assert sentence.startswith(f"{KINDS[kind].label} one grows")


@pytest.mark.parametrize("kind", [*KINDS, "relation_mib:work_list", "relation_mib:ledger"])
def test_what_only_trembles_is_no_growth(kind: str) -> None:
    chance = Random(kind)
    assert not growing(samples_of(kind, lambda _at: 100 + chance.gauss(0, 1)))


def test_a_table_of_sales_grows_in_proportion_and_one_whose_rows_go_may_not() -> None:
    def mib(at: float) -> float:
        return 0.2 * at

    assert not growing(samples_of("relation_mib:ledger/ledger_pkey", mib))
    (sentence,) = growing(samples_of("relation_mib:webhook_deliveries", mib))
    assert sentence == (
        "size of webhook_deliveries grows by 17,280 MiB a day: by 358 MiB in the last"
        " 29.8 minutes, to 718 MiB"
    )


def test_a_purchase_that_takes_more_and_more_cpu_is_found() -> None:
    (sentence,) = growing(samples_of("cpu_seconds:gateway-1", lambda at: 0.0002 * at * at))
    assert sentence.startswith("CPU of gateway-1 grows faster than the sales")


def test_wal_that_is_kept_is_found_and_wal_up_to_its_size_is_not() -> None:
    """An hour at 300 purchases/s writes 3,400 MiB; checkpoints keep half of it."""
    assert growing(samples_of("wal_files_mib", lambda at: 3_400 * at / HOUR))
    assert not growing(samples_of("wal_files_mib", lambda at: min(1_600.0, 3_400 * at / HOUR)))


def test_figures_without_a_rule_are_only_shown() -> None:
    assert kind_of("vacuums:ledger") is None
    assert not growing(samples_of("pss_mib:postgres", lambda at: at))
    assert not growing(samples_of("open_files:postgres", lambda at: at))
    assert growing(samples_of("open_files:gateway-1", lambda at: at))


def test_a_last_quarter_that_is_slow_is_found() -> None:
    def minute(number: int) -> Minute:
        p99_ms = 20.0 if number < 45 else 80.0
        summary = LatencySummary(p50_ms=5.0, p99_ms=p99_ms, p999_ms=90.0, longest_ms=99.0)
        return Minute(60.0 * number, 60.0, None, summary, {})

    (sentence,) = growing([], [minute(number) for number in range(60)])
    assert sentence == ("p99 until decided grows: 20 ms in the first quarter, 80 ms in the last")


def test_what_grows_is_named_first() -> None:
    samples = [
        Sample(at, {"entries": at, "threads:worker-1": 3.0, "threads:gateway-1": at / 60})
        for at in range(HOUR)
    ]
    assert [verdict.curve for verdict in judge(samples, [])[:2]] == [
        "threads of gateway-1",
        "threads of worker-1",
    ]


def test_moments_are_counted_from_the_first_buyer() -> None:
    samples = [Sample(100.0, {"a": 1.0}), Sample(110.04, {"a": 2.0, "b:x": 3.0})]
    found = curves(since(105.0, samples))
    assert found == {"a": [Point(5.0, 2.0)], "b:x": [Point(5.0, 3.0)]}
    assert curves_of("b", found) == {"x": [Point(5.0, 3.0)]}
