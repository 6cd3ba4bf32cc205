"""A run second by second, gathered while it goes on and put together at its end."""

import time
from collections.abc import Iterable

import msgspec
from locust.stats import (
    RequestStats,
    StatsEntry,
    calculate_response_time_percentile,
    diff_response_time_dicts,
)

from loadtests.recording.figures import (
    ABANDONED,
    PAYMENT_TO_CONFIRMED,
    PAYMENT_TO_HOLD_OVER,
    REQUEST_TO_202,
    REQUEST_TO_CONFIRMED,
    REQUEST_TO_DECISION,
    REQUEST_TO_DECISION_POLLED,
    REQUEST_TO_HELD,
    REQUEST_TO_REJECTED,
    REQUEST_TO_SOLD_OUT,
    SALE,
    gave_up,
    retry_after,
    waits,
)
from loadtests.recording.run import Answers, AnswerTimes, Moment
from loadtests.recording.sampling import RowSample

# By so much the clocks of two machines may differ: seconds are whole.
CLOCK_TOLERANCE_SECONDS = 1
# Whose percentiles are kept second by second.
WAITS = (REQUEST_TO_DECISION, REQUEST_TO_SOLD_OUT)


class Timeline:
    """What is known only at its moment: users, samples of the rows, the latest waits."""

    def __init__(self) -> None:
        # A whole second, as Locust counts its requests by.
        self.started = int(time.time())
        self._users: dict[int, int] = {}
        self._waits: dict[str, dict[int, AnswerTimes]] = {name: {} for name in WAITS}
        self._waits_before: dict[str, dict[int, int]] = {name: {} for name in WAITS}
        self._samples: dict[int, RowSample] = {}

    def tick(self, users: int, stats: RequestStats) -> None:
        """Add the current figures; to be called about once a second."""
        second = int(time.time()) - self.started
        self._users[second] = users
        for name in WAITS:
            all_waits = waits(stats, name)
            latest = latency(diff_response_time_dicts(all_waits, self._waits_before[name]))
            if latest is not None:
                self._waits[name][second] = latest
            self._waits_before[name] = all_waits

    def add(self, sample: RowSample) -> None:
        self._samples[int(sample.at) - self.started] = sample

    def moments(self, stats: RequestStats) -> list[Moment]:
        """All of it, with what Locust counted in each second."""
        requests = self._by_second([stats.total])
        accepted = self._by_second([stats.get(REQUEST_TO_202, SALE)])
        decided = self._by_second(
            stats.get(name, SALE)
            for name in (REQUEST_TO_CONFIRMED, REQUEST_TO_HELD, REQUEST_TO_REJECTED)
        )
        sold_out = self._by_second([stats.get(REQUEST_TO_SOLD_OUT, SALE)])
        last = max([*self._users, *requests, *decided, 0])
        return [
            msgspec.structs.replace(
                self._known(second),
                requests=requests.get(second, 0),
                accepted=accepted.get(second, 0),
                decided=decided.get(second, 0),
                sold_out=sold_out.get(second, 0),
            )
            for second in range(last + 1)
        ]

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time of each service between the first and the last time it was seen."""
        seen = [sample.cpu_seconds for sample in self._samples.values() if sample.cpu_seconds]
        if not seen:
            return {}
        return {
            name: round(until - seen[0].get(name, until), 2) for name, until in seen[-1].items()
        }

    def _known(self, second: int) -> Moment:
        users = self._users.get(second, self._users.get(second - 1, 0))
        sample = self._samples.get(second)
        decision, sold_out = (self._waits[name].get(second) for name in WAITS)
        return Moment(
            at=second,
            users=users,
            left=None if sample is None else sample.left,
            held=None if sample is None else sample.held,
            queued=None if sample is None else sample.queued,
            decisions=None if sample is None else sample.decisions,
            p50_ms=None if decision is None else decision.p50_ms,
            p95_ms=None if decision is None else decision.p95_ms,
            p99_ms=None if decision is None else decision.p99_ms,
            sold_out_p50_ms=None if sold_out is None else sold_out.p50_ms,
            sold_out_p99_ms=None if sold_out is None else sold_out.p99_ms,
            cores=_cores(sample, self._samples.get(second + 1)),
        )

    def clock_error_seconds(self, stats: RequestStats) -> int:
        """By how much some worker's clock is behind (negative) or ahead of this one; 0: by nothing
        that matters."""
        seconds = stats.total.num_reqs_per_sec
        behind = min(seconds, default=self.started) - self.started
        ahead = max(seconds, default=self.started) - int(time.time())
        if behind < -CLOCK_TOLERANCE_SECONDS:
            return behind
        return ahead if ahead > CLOCK_TOLERANCE_SECONDS else 0

    def _by_second(self, entries: Iterable[StatsEntry]) -> dict[int, int]:
        counts: dict[int, int] = {}
        for entry in entries:
            for second, count in entry.num_reqs_per_sec.items():
                at = max(0, second - self.started)
                counts[at] = counts.get(at, 0) + count
        return counts


def answers(stats: RequestStats) -> Answers:
    def count(name: str) -> int:
        entry = stats.entries.get((name, SALE))
        return 0 if entry is None else int(entry.num_requests)

    def count_retry_after(status: int) -> int:
        entries = list(stats.entries.items())
        return sum(e.num_requests for (name, _), e in entries if name.endswith(retry_after(status)))

    return Answers(
        accepted=count(REQUEST_TO_202),
        confirmed=count(REQUEST_TO_CONFIRMED),
        held=count(REQUEST_TO_HELD),
        rejected=count(REQUEST_TO_REJECTED),
        paid=count(PAYMENT_TO_CONFIRMED),
        given_back=count(PAYMENT_TO_HOLD_OVER),
        abandoned=count(ABANDONED),
        sold_out=count(REQUEST_TO_SOLD_OUT),
        gave_up=sum(
            count(gave_up(name)) for name in (REQUEST_TO_DECISION, REQUEST_TO_DECISION_POLLED)
        ),
        retry_after_400=count_retry_after(400),
        retry_after_429=count_retry_after(429),
        retry_after_503=count_retry_after(503),
        undecided=sum(
            stats.get(name, SALE).num_failures
            for name in (REQUEST_TO_DECISION, REQUEST_TO_DECISION_POLLED, PAYMENT_TO_CONFIRMED)
        ),
    )


def latency(response_times: dict[int, int]) -> AnswerTimes | None:
    """Percentiles of a histogram of milliseconds, as Locust rounds them; None of an empty one."""
    count = sum(response_times.values())
    if not count:
        return None
    p50, p95, p99 = (
        calculate_response_time_percentile(response_times, count, part)
        for part in (0.5, 0.95, 0.99)
    )
    return AnswerTimes(count, p50, p95, p99)


def _cores(now: RowSample | None, then: RowSample | None) -> dict[str, float]:
    """How many cores each service kept busy from one sample to the next; empty without both."""
    if now is None or then is None:
        return {}
    return {
        name: round(max(0.0, until - now.cpu_seconds[name]) / (then.at - now.at), 3)
        for name, until in then.cpu_seconds.items()
        if name in now.cpu_seconds
    }
