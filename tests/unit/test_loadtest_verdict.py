"""From what a run did to its exit code."""

import msgspec
import pytest

from loadtests.promises import Broken, Findings, Promise
from loadtests.run import Latency, Moment, Run, Thresholds
from loadtests.verdict import EXAMPLES_MAX, ExitCode, best_throughput, judge

KEPT = Findings(dict.fromkeys(Promise, 100), [])
LOST = Broken(Promise.NEVER_LOST, "p1 was accepted, and has no row")
GOOD_RUN = Run(
    started_at="2026-11-22T12:00:00+00:00",
    seconds=10.0,
    host="http://127.0.0.1:8000",
    arguments={},
    ticket_types=[1],
    requests=1_000,
    failures=0,
    users_max=50,
    to_202=None,
    to_decision=Latency(100, 20.0, 80.0, 200.0),
    moments=[Moment(at=at, users=50, settled=10) for at in range(10)],
    cpu_seconds={"gateway": 1.0},
    thresholds=Thresholds(),
    errors=[],
)


def a_run(thresholds: Thresholds | None = None, **changes: object) -> Run:
    return msgspec.structs.replace(GOOD_RUN, thresholds=thresholds or Thresholds(), **changes)


def exit_code(run: Run, findings: Findings = KEPT) -> ExitCode:
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
    assert exit_code(a_run(to_decision=None)) is ExitCode.ERRORS


def test_what_could_not_be_checked_is_an_error_and_not_a_promise_kept() -> None:
    verdict = judge(GOOD_RUN, Findings({}, []), ["the database does not answer"])
    assert verdict.exit_code is ExitCode.ERRORS
    assert verdict.checked == {}


def test_errors_of_the_load_test_itself_are_told() -> None:
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


def test_throughput_is_that_of_the_best_five_seconds() -> None:
    rush = [0, 0, 100, 100, 100, 100, 100, 0, 0, 0]
    moments = [Moment(at=at, users=1, settled=settled) for at, settled in enumerate(rush)]
    assert best_throughput(moments) == 100
    assert best_throughput(moments[:4]) == 50
    assert best_throughput([]) == 0
