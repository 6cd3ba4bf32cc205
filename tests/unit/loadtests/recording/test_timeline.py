"""Figures by second, of workers whose clocks differ."""

import pytest
from locust.stats import RequestStats

from loadtests.recording.timeline import Timeline


@pytest.mark.parametrize(
    ("seconds_off", "found"), [(0, 0), (-1, 0), (1, 0), (-2, -2), (-40, -40), (90, 90)]
)
def test_a_workers_clock_that_differs_by_more_than_a_second_is_found(
    seconds_off: int, found: int
) -> None:
    timeline, stats = Timeline(), RequestStats()
    for at in (timeline.started, timeline.started + seconds_off):
        stats.total.num_reqs_per_sec[at] = 5
    # A second may have begun since.
    assert timeline.clock_error_seconds(stats) in {found, found - (found > 1)}


def test_a_run_without_requests_has_no_such_error() -> None:
    assert Timeline().clock_error_seconds(RequestStats()) == 0
