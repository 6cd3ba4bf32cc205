"""The verdict on a run: its exit code, and the reasons in sentences. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum

import msgspec

from loadtests.recording.run import Answers, Moment, RecordedRun
from loadtests.verdict.promises import Broken, Findings, Promise

# A single second depends on where a second begins; a minute would average a rush away.
BEST_SECONDS = 5
# Broken promises shown one by one; all are counted.
EXAMPLES_MAX = 20


class ExitCode(IntEnum):
    """What a script learns of a run; of several the worst, in the order 2, 1, 3."""

    GOOD = 0
    ERRORS = 1  # requests failed, or the run could not be checked
    BROKEN_PROMISE = 2
    THRESHOLD_MISSED = 3


IN_WORDS = {
    ExitCode.GOOD: "good",
    ExitCode.ERRORS: "errors: these figures count for little",
    ExitCode.BROKEN_PROMISE: "A PROMISE WAS BROKEN",
    ExitCode.THRESHOLD_MISSED: "sound, but a threshold was missed",
}


class RunVerdict(msgspec.Struct, frozen=True):
    """The exit code and its reasons, in sentences.

    Attributes:
        checked: how many of each promise were checked; a missing one was not.
        broken: how many of these broke it.
    """

    exit_code: ExitCode
    checked: dict[Promise, int]
    broken: dict[Promise, int]
    examples: list[str]
    errors: list[str]
    missed: list[str]


def judge(run: RecordedRun, findings: Findings, errors: Sequence[str]) -> RunVerdict:
    """The verdict over a run.

    Args:
        run: what Locust measured.
        findings: how the promises were kept.
        errors: why something could not be checked, in sentences.
    """
    all_errors = [*run.errors, *errors, *_failures(run)]
    missed = list(_missed(run))
    counted = Counter(violation.promise for violation in findings.broken)
    return RunVerdict(
        exit_code=_exit_code(bool(findings.broken), bool(all_errors), bool(missed)),
        checked=findings.checked,
        broken={promise: counted[promise] for promise in findings.checked},
        examples=_examples(findings.broken, counted),
        errors=all_errors,
        missed=missed,
    )


def best_throughput(moments: Sequence[Moment]) -> float:
    """Purchases decided a second, in the best five seconds; 0 in a run without any."""
    decided = [moment.decided for moment in moments]
    if not decided:
        return 0.0
    width = min(BEST_SECONDS, len(decided))
    starts = range(len(decided) - width + 1)
    return max(sum(decided[start : start + width]) for start in starts) / width


def tickets_sold(moments: Sequence[Moment]) -> tuple[int, int] | None:
    """How many tickets were sold and are left; None where the rows were not sampled."""
    known = [(m.left, m.held or 0) for m in moments if m.left is not None]
    return (sum(known[0]) - sum(known[-1]), known[-1][0]) if known else None


def sold_out_after_seconds(moments: Sequence[Moment]) -> int | None:
    """Seconds from the first purchase until nothing was left; None: it was not sold out.

    Where the rows were not sampled, until an answer "sold out".
    """
    first = next((m.at for m in moments if m.accepted or m.decided or m.sold_out), None)
    sampled = any(m.left is not None for m in moments)
    ended = next((m.at for m in moments if (m.left == 0 if sampled else m.sold_out)), None)
    return None if first is None or ended is None else max(0, ended - first)


def outcome(run: RecordedRun) -> str:
    counts = run.answers
    sold = tickets_sold(run.moments)
    parts = [] if sold is None else [f"{sold[0]:,} tickets sold, {sold[1]:,} left"]
    after = sold_out_after_seconds(run.moments)
    parts.append("not sold out" if after is None else f"sold out after {after:,} s")
    parts.append(f"{counts.confirmed:,} purchases confirmed, {counts.rejected:,} rejected")
    if counts.held:
        parts.append(f"{counts.held:,} held, {payments(counts)}")
    parts.append(f"{counts.sold_out:,} answered sold out")
    if counts.gave_up:
        parts.append(f"{counts.gave_up:,} gave up after Retry-After")
    if counts.undecided:
        parts.append(f"{counts.undecided:,} without a decision")
    return "; ".join(parts)


def payments(counts: Answers) -> str:
    """What became of what was held; the abuser's is not among it, for nobody pays that."""
    return (
        f"{counts.paid:,} paid, {counts.given_back:,} paid too late and given back,"
        f" {counts.abandoned:,} abandoned"
    )


def _exit_code(broken: bool, errors: bool, missed: bool) -> ExitCode:
    if broken:
        return ExitCode.BROKEN_PROMISE
    if errors:
        return ExitCode.ERRORS
    return ExitCode.THRESHOLD_MISSED if missed else ExitCode.GOOD


def _failures(run: RecordedRun) -> Iterator[str]:
    if run.failures and run.thresholds.max_failure_ratio is None:
        yield f"{run.failures:,} of {run.requests:,} requests failed"
    if not run.answers.confirmed + run.answers.held + run.answers.rejected:
        yield "nothing was decided, so this run proves nothing"


def _missed(run: RecordedRun) -> Iterator[str]:
    aimed = run.thresholds
    sold_out_ms = (
        aimed.max_p99_ms if aimed.max_sold_out_p99_ms is None else aimed.max_sold_out_p99_ms
    )
    for answer, latency, limit_ms in (
        ("decision", run.to_decision, aimed.max_p99_ms),
        ('"sold out"', run.to_sold_out, sold_out_ms),
    ):
        if limit_ms is not None and latency is not None and latency.p99_ms > limit_ms:
            yield (
                f"p99 from request to {answer}: {latency.p99_ms:,.0f} ms, over {limit_ms:,.0f} ms"
                f" ({latency.count:,} buyers)"
            )
    if aimed.max_p99_ms is not None and run.to_decision is None:
        yield "p99 from request to decision: not known, for no buyer waited for its decision"
    if aimed.max_failure_ratio is not None and run.requests:
        ratio = run.failures / run.requests
        if ratio > aimed.max_failure_ratio:
            yield f"failed requests: {ratio:.2%}, over {aimed.max_failure_ratio:.2%}"
    if aimed.min_throughput is not None:
        throughput = best_throughput(run.moments)
        if throughput < aimed.min_throughput:
            yield (
                f"throughput: {throughput:,.0f} purchases decided/s,"
                f" under {aimed.min_throughput:,.0f}/s"
            )


def _examples(broken: Sequence[Broken], counted: Mapping[Promise, int]) -> list[str]:
    """A few of each promise, so that many violations of one hide no other."""
    of_each = max(1, EXAMPLES_MAX // max(1, len(counted)))
    return [
        violation.detail
        for promise in Promise
        for violation in [v for v in broken if v.promise is promise][:of_each]
    ]
