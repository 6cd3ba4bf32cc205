"""What `make chaos` tries, and in which order."""

from itertools import islice

import pytest

from tests.chaos.catalogue import PAYMENT_MOMENTS
from tests.chaos.plan import ALL, FAILOVER, KINDS, PAIRS, PAYMENT_FAILOVER, plan, share


@pytest.mark.parametrize("seed", range(5))
def test_a_short_run_has_faults_alone_and_in_pairs(seed: int) -> None:
    for rounds in (3, 12, 42):
        sizes = [len(faults) for faults in islice(plan(None, seed), rounds)]
        assert sizes.count(1) == 2 * sizes.count(2) == rounds * 2 / 3


def test_a_run_of_the_usual_length_has_every_fault_alone_once() -> None:
    alone = [faults[0] for faults in islice(plan(None, 1), len(ALL) * 3 // 2) if len(faults) == 1]
    assert sorted(alone, key=ALL.index) == ALL


@pytest.mark.parametrize("only", [None, PAIRS, "redis"])
def test_the_same_seed_gives_the_same_rounds_and_another_seed_others(only: str | None) -> None:
    first, again, other = (list(islice(plan(only, seed), 60)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


@pytest.mark.parametrize("only", KINDS)
def test_one_kind_is_tried_alone(only: str) -> None:
    pairs = {len(faults) == 2 for faults in islice(plan(only, 1), 20)}
    expected = {False, True} if only == PAYMENT_FAILOVER else {only == PAIRS}
    assert pairs == expected


def test_a_pair_is_of_two_faults() -> None:
    assert all(len(set(faults)) == 2 for faults in islice(plan(PAIRS, 1), 100))


def test_a_failover_comes_at_each_moment_of_a_payment() -> None:
    met = {moment for moment, *failover in islice(plan(PAYMENT_FAILOVER, 1), 20) if failover}
    assert met == set(PAYMENT_MOMENTS)


def test_failovers_are_tried_on_a_system_of_their_own() -> None:
    tried = {faults[0] for faults in islice(plan(FAILOVER, 1), 6)}
    assert not tried & set(ALL)


def test_jobs_share_the_rounds_of_a_run() -> None:
    shares = [list(share(plan(None, 7), 20, first, 3)) for first in (1, 2, 3)]
    assert [len(each) for each in shares] == [7, 7, 6]
    held = dict(round_ for each in shares for round_ in each)
    assert [held[number] for number in range(1, 21)] == list(islice(plan(None, 7), 20))
