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

from loadtests.figures import (
    REQUEST_TO_202,
    REQUEST_TO_DECISION,
    REQUEST_TO_DECISION_POLLED,
    SALE,
    SOLD_OUT,
)
from loadtests.run import Latency, Moment
from loadtests.sampling import Sample


class Timeline:
    """What is only known at its moment: users, how the rows stand, and the latest waits."""

    def __init__(self) -> None:
        # A whole second, as Locust counts its requests by.
        self.started = int(time.time())
        self._users: dict[int, int] = {}
        self._waits: dict[int, Latency] = {}
        self._samples: dict[int, Sample] = {}
        self._waits_before: dict[int, int] = {}

    def tick(self, users: int, stats: RequestStats) -> None:
        """Note what holds now; to be called about once a second."""
        second = int(time.time()) - self.started
        self._users[second] = users
        waits = dict(stats.get(REQUEST_TO_DECISION, SALE).response_times)
        latest = latency(diff_response_time_dicts(waits, self._waits_before))
        if latest is not None:
            self._waits[second] = latest
        self._waits_before = waits

    def add(self, sample: Sample) -> None:
        """Note how the rows stood."""
        self._samples[int(sample.at) - self.started] = sample

    def moments(self, stats: RequestStats) -> list[Moment]:
        """All of it, with what Locust counted in each second."""
        requests = self._by_second([stats.total])
        accepted = self._by_second([stats.get(REQUEST_TO_202, SALE)])
        settled = self._by_second(settled_entries(stats))
        last = max([*self._users, *requests, *settled, 0])
        return [
            msgspec.structs.replace(
                self._known(second),
                requests=requests.get(second, 0),
                accepted=accepted.get(second, 0),
                settled=settled.get(second, 0),
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
        """What was noted in this second."""
        users = self._users.get(second, self._users.get(second - 1, 0))
        sample, waits = self._samples.get(second), self._waits.get(second)
        return Moment(
            at=second,
            users=users,
            left=None if sample is None else sample.left,
            queued=None if sample is None else sample.queued,
            decisions=None if sample is None else sample.decisions,
            p50_ms=None if waits is None else waits.p50_ms,
            p95_ms=None if waits is None else waits.p95_ms,
            p99_ms=None if waits is None else waits.p99_ms,
            cores=_cores(sample, self._samples.get(second + 1)),
        )

    def _by_second(self, entries: Iterable[StatsEntry]) -> dict[int, int]:
        counts: dict[int, int] = {}
        for entry in entries:
            for second, count in entry.num_reqs_per_sec.items():
                at = max(0, second - self.started)
                counts[at] = counts.get(at, 0) + count
        return counts


def settled_entries(stats: RequestStats) -> list[StatsEntry]:
    """Where Locust counts purchases that are over: decided, or refused as sold out."""
    sold_out = [entry for (name, _), entry in stats.entries.items() if name.endswith(SOLD_OUT)]
    decided = [stats.get(name, SALE) for name in (REQUEST_TO_DECISION, REQUEST_TO_DECISION_POLLED)]
    return decided + sold_out


def latency(response_times: dict[int, int]) -> Latency | None:
    """Percentiles of a histogram of milliseconds, as Locust rounds them; None of an empty one."""
    count = sum(response_times.values())
    if not count:
        return None
    p50, p95, p99 = (
        calculate_response_time_percentile(response_times, count, part)
        for part in (0.5, 0.95, 0.99)
    )
    return Latency(count, p50, p95, p99)


def _cores(now: Sample | None, then: Sample | None) -> dict[str, float]:
    """How many cores each service kept busy from one sample to the next; empty without both."""
    if now is None or then is None:
        return {}
    return {
        name: round(max(0.0, until - now.cpu_seconds[name]) / (then.at - now.at), 3)
        for name, until in then.cpu_seconds.items()
        if name in now.cpu_seconds
    }
