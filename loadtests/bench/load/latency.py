"""Latencies by an HDR histogram: every one counted, to three digits."""

from collections.abc import Iterable

import msgspec
from hdrh.histogram import HdrHistogram

LOWEST_US, HIGHEST_US, DIGITS = 1, 120_000_000, 3
PERCENTILES = (50.0, 99.0, 99.9)


class LatencySummary(msgspec.Struct, frozen=True):
    p50_ms: float
    p99_ms: float
    p999_ms: float
    longest_ms: float


def latency(seconds: Iterable[float]) -> LatencySummary:
    histogram = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
    for one in seconds:
        # What took longer than the histogram reaches counts as that long, and is not dropped.
        histogram.record_value(min(max(LOWEST_US, round(one * 1e6)), HIGHEST_US))
    p50, p99, p999 = (histogram.get_value_at_percentile(part) / 1000 for part in PERCENTILES)
    return LatencySummary(p50, p99, p999, histogram.get_max_value() / 1000)
