"""From what a run did to its exit code."""

import msgspec
import pytest

from loadtests.recording.run import Answers, AnswerTimes, Moment, RecordedRun, Thresholds
from loadtests.verdict.judge import (
    EXAMPLES_MAX,
    ExitCode,
    best_throughput,
    judge,
    outcome,
    sold_out_after_seconds,
)
from loadtests.verdict.promises import Broken, Findings, Promise

KEPT = Findings(dict.fromkeys(Promise, 100), [])
LOST = Broken(Promise.NEVER_LOST, "p1 was accepted, and has no row")
GOOD_RUN = RecordedRun(
    started_at="2026-11-22T12:00:00+00:00",
    seconds=10.0,
    host="http://127.0.0.1:8000",
    arguments={},
    ticket_types=[1],
    requests=1_000,
    failures=0,
    users_max=50,
    to_202=None,
    to_decision=AnswerTimes(100, 20.0, 80.0, 200.0),
    to_sold_out=None,
    answers=Answers(accepted=100, confirmed=100),
    moments=[Moment(at=at, users=50, decided=10) for at in range(10)],
    cpu_seconds={"gateway": 1.0},
    thresholds=Thresholds(),
    errors=[],
)


def a_run(thresholds: Thresholds | None = None, **changes: object) -> RecordedRun:
    return msgspec.structs.replace(GOOD_RUN, thresholds=thresholds or Thresholds(), **changes)


def exit_code(run: RecordedRun, findings: Findings = KEPT) -> ExitCode:
    return judge(run, findings, []).exit_code


def with_broken(*broken: Broken) -> Findings:
    return Findings(KEPT.checked, list(broken))


def test_a_run_that_kept_all_promises_is_good() -> None:
    verdict = judge(GOOD_RUN, KEPT, [])
    assert verdict.exit_code is ExitCode.GOOD
    assert verdict.errors == verdict.missed == []
    assert set(verdict.broken.values()) == {0}


@pytest.mark.parametrize(
    "thresholds",
    [
        Thresholds(max_p99_ms=199.0),
        Thresholds(max_failure_ratio=0.001),
        Thresholds(min_throughput=10.5),
    ],
)
def test_each_threshold_can_be_missed_alone(thresholds: Thresholds) -> None:
    run = a_run(thresholds, failures=2 if thresholds.max_failure_ratio is not None else 0)
    verdict = judge(run, KEPT, [])
    assert verdict.exit_code is ExitCode.THRESHOLD_MISSED
    assert len(verdict.missed) == 1


def test_thresholds_that_are_just_reached_are_met() -> None:
    thresholds = Thresholds(max_p99_ms=200.0, max_failure_ratio=0.002, min_throughput=10.0)
    assert exit_code(a_run(thresholds, failures=2)) is ExitCode.GOOD


def test_a_single_failure_is_an_error_unless_a_ratio_allows_it() -> None:
    assert exit_code(a_run(failures=1)) is ExitCode.ERRORS
    assert exit_code(a_run(Thresholds(max_failure_ratio=0.01), failures=1)) is ExitCode.GOOD


def test_a_run_without_a_decision_proves_nothing() -> None:
    run = a_run(to_decision=None, answers=Answers(accepted=100, sold_out=50))
    assert exit_code(run) is ExitCode.ERRORS


def test_decisions_count_though_nobody_waited_for_them() -> None:
    polled = {"to_decision": None, "answers": Answers(accepted=100, held=60, rejected=40)}
    assert exit_code(a_run(**polled)) is ExitCode.GOOD
    verdict = judge(a_run(Thresholds(max_p99_ms=2_000), **polled), KEPT, [])
    assert verdict.exit_code is ExitCode.THRESHOLD_MISSED
    (reason,) = verdict.missed
    assert "no buyer waited for its decision" in reason


def test_errors_of_the_load_test_itself_are_errors() -> None:
    verdict = judge(a_run(errors=["worker 1 did not report"]), KEPT, [])
    assert verdict.exit_code is ExitCode.ERRORS
    assert verdict.errors == ["worker 1 did not report"]


def test_a_broken_promise_outweighs_errors_and_errors_outweigh_thresholds() -> None:
    run = a_run(Thresholds(max_p99_ms=1.0), errors=["a worker was lost"])
    assert exit_code(run, with_broken(LOST)) is ExitCode.BROKEN_PROMISE
    assert exit_code(run) is ExitCode.ERRORS


def test_many_violations_of_one_promise_hide_no_other() -> None:
    undecided = Broken(Promise.DECIDED, "p2 is still queued")
    verdict = judge(GOOD_RUN, with_broken(*[LOST] * 1_000, undecided), [])
    assert verdict.broken[Promise.NEVER_LOST] == 1_000
    assert undecided.detail in verdict.examples
    assert len(verdict.examples) <= EXAMPLES_MAX


# The rush of a sale that was over at once: most buyers were only answered so, and late.
SOLD_OUT_RUSH = {
    "to_decision": AnswerTimes(236, 20.0, 80.0, 200.0),
    "to_sold_out": AnswerTimes(8_477, 900.0, 2_300.0, 2_900.0),
    "answers": Answers(accepted=236, confirmed=200, rejected=36, sold_out=8_477),
    "moments": [
        Moment(at=0, users=2_100, left=400),
        Moment(at=1, users=2_100, accepted=236, decided=236, left=150),
        Moment(at=2, users=2_100, sold_out=1_900, left=0),
        *(Moment(at=at, users=2_100, sold_out=1_900, left=0) for at in range(3, 6)),
    ],
}


@pytest.mark.parametrize(
    ("thresholds", "missed"),
    [
        (
            Thresholds(max_p99_ms=2_000),
            'p99 from request to "sold out": 2,900 ms, over 2,000 ms (8,477',
        ),
        (Thresholds(max_p99_ms=2_000, max_sold_out_p99_ms=3_000), None),
        (Thresholds(max_sold_out_p99_ms=2_000), 'p99 from request to "sold out"'),
        (Thresholds(min_throughput=48), "throughput: 47 purchases decided/s"),
        (Thresholds(min_throughput=47), None),
    ],
)
def test_an_answer_sold_out_has_a_wait_and_is_no_purchase(
    thresholds: Thresholds, missed: str | None
) -> None:
    verdict = judge(a_run(thresholds, **SOLD_OUT_RUSH), KEPT, [])
    assert [reason[: len(missed or "")] for reason in verdict.missed] == [missed] * bool(missed)


def test_the_outcome_says_what_was_sold_and_when_it_was_over() -> None:
    assert outcome(a_run(**SOLD_OUT_RUSH)) == (
        "400 tickets sold, 0 left; sold out after 1 s; 200 purchases confirmed, 36 rejected;"
        " 8,477 answered sold out"
    )
    assert "not sold out" in outcome(GOOD_RUN)
    refused = a_run(answers=Answers(confirmed=1, gave_up=1_000))
    assert "1,000 gave up after Retry-After" in outcome(refused)


@pytest.mark.parametrize(
    ("moments", "seconds"),
    [
        ([], None),
        ([Moment(at=0, users=1, accepted=1, left=5)], None),
        ([Moment(at=3, users=1, accepted=1), Moment(at=9, users=1, left=0)], 6),
        # Of another ticket type some are left.
        ([Moment(at=3, users=1, accepted=1), Moment(at=5, users=1, sold_out=1, left=1)], None),
        # The rows were not sampled.
        ([Moment(at=3, users=1, accepted=1), Moment(at=5, users=1, sold_out=1)], 2),
        ([Moment(at=0, users=1, left=0), Moment(at=4, users=1, sold_out=1, left=0)], 0),
    ],
)
def test_a_sale_is_sold_out_when_nothing_is_left(
    moments: list[Moment], seconds: int | None
) -> None:
    assert sold_out_after_seconds(moments) == seconds


def test_throughput_is_that_of_the_best_five_seconds() -> None:
    rush = [0, 0, 100, 100, 100, 100, 100, 0, 0, 0]
    moments = [Moment(at=at, users=1, decided=decided) for at, decided in enumerate(rush)]
    assert best_throughput(moments) == 100
    assert best_throughput(moments[:4]) == 50
    assert best_throughput([]) == 0
