"""The cause of a slow purchase, from what generator, gateway and probes saw."""

import pytest

from loadtests.bench.load.latency import latency
from loadtests.bench.load.probes import Late, Probes
from loadtests.bench.load.tally import LoadRun, SlowAnswer
from loadtests.bench.parts.tails import (
    Cause,
    Record,
    Round,
    calm_seconds,
    figures,
    stages_of,
    table,
)

SLOW = SlowAnswer(intended_at=10.0, sent_at=10.01, answered_at=10.2, body=b"{}")


def test_the_stages_of_a_purchase_follow_one_another_from_its_moment_to_its_answer() -> None:
    record = Record("id", 1_010.02, 0.17, {"accept": 0.15, "worker": 0.02})
    stages = stages_of(SLOW, record, epoch_at=1_000.0)
    assert list(stages) == [
        *("generator", "until it was read", "accept", "worker", "the answer's way")
    ]
    end = SLOW.intended_at
    for began_at, seconds in stages.values():
        assert began_at == pytest.approx(end)
        end = began_at + seconds
    assert end == pytest.approx(SLOW.answered_at)


def test_a_purchase_that_the_gateway_found_quick_waited_outside() -> None:
    assert list(stages_of(SLOW, None, epoch_at=0)) == [
        *("generator", "outside the gateway, or not logged")
    ]


@pytest.mark.parametrize(
    ("began_at", "seconds", "stalled"),
    [(9.9, 0.15, True), (10.1, 0.05, True), (10.1, 0.01, False), (9.9, 0.05, False)],
)
def test_a_stall_counts_where_it_is_long_and_at_the_same_time(
    began_at: float, seconds: float, stalled: bool
) -> None:
    for probes in (
        Probes([Late(began_at, seconds)], [], []),
        Probes([], [Late(began_at, seconds)], []),
    ):
        assert probes.stalled(SLOW.intended_at, SLOW.answered_at, 0.02) is stalled


def test_the_commonest_cause_comes_first() -> None:
    causes = [Cause("accept", 0.05, stalled=True), Cause("worker", 0.1, stalled=False)]
    first, second = table([*causes, Cause("worker", 0.2, stalled=False)])
    assert "worker" in first
    assert "2, beside a stall     0, longest  200.0 ms" in first
    assert "1, beside a stall     1" in second


def test_a_second_in_which_the_machine_stalled_is_left_out_whole() -> None:
    answers = [SlowAnswer(at, at, at + 0.1, b"") for at in (10.1, 10.9, 11.2, 12.0)]
    run = LoadRun(10.0, 3.0, {201: 4}, latency([0.1]), 0.1, [], answers)
    assert len(calm_seconds(run, Probes([], [], []))) == 4
    assert len(calm_seconds(run, Probes([Late(10.4, 0.02)], [], []))) == 2
    assert len(calm_seconds(run, Probes([], [Late(10.98, 0.05)], []))) == 1
    assert len(calm_seconds(run, Probes([Late(11.5, 0.009)], [], []))) == 4


def test_each_round_is_compared_with_its_own_commits_and_the_worst_is_shown() -> None:
    rounds = [
        Round(latency([seconds]), latency([commit]), latency([0.001]), [], calm)
        for seconds, commit, calm in (
            (0.02, 0.001, [0.02]),
            (0.05, 0.02, [0.01]),
            (0.03, 0.001, []),
        )
    ]
    shown = {figure.name: figure for figure in figures(1_000, rounds)}
    above = shown["tails_at_1000_per_second_p99_above_commits_ms"]
    assert above.values == pytest.approx([28], abs=0.1)
    assert above.meets_target is False
    assert shown["tails_at_1000_per_second_calm_p99_ms"].values == pytest.approx([20], abs=0.1)
    assert shown["tails_at_1000_per_second_calm_p99_ms"].meets_target
    assert len(shown["tails_at_1000_per_second_p99_ms"].values) == len(rounds)


def test_without_a_calm_second_there_is_no_figure_of_them() -> None:
    stalled = Round(latency([0.02]), latency([0.5]), latency([0.5]), [], [])
    assert not any("calm" in figure.name for figure in figures(1_000, [stalled]))
