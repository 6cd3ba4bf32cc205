"""Processes that count in one directory are exported as one, those that exited included."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from shared.observability.multiprocess_metrics import DIRECTORY_VARIABLE, EXITED, DirectoryCollector
from tests.support.processes import killed_at_last
from tests.support.services import PROJECT
from tests.support.waiting import eventually

# Counts as told on its standard input, and answers when that is done.
COUNTS = """
import sys
from prometheus_client import Counter, Gauge, Histogram
sold = Counter("sold_total", "Sold", ["kind"])
rows = Histogram("rows", "Rows", buckets=(1, 10))
waiting = Gauge("waiting", "Waiting", multiprocess_mode="livesum")
for line in sys.stdin:
    sold.labels(line.strip()).inc()
    rows.observe(5)
    waiting.set(2)
    print("counted", flush=True)
"""


# Each has the timer of a gateway's event loop.
RUNS_A_LOOP = """
import asyncio
from shared.observability.event_loop_lag import lag_observed
async def run():
    async with lag_observed("gateway"):
        await asyncio.sleep(60)
asyncio.run(run())
"""


@contextmanager
def process_with_a_loop(folder: Path) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, "-c", RUNS_A_LOOP],
        cwd=PROJECT,
        env=os.environ | {DIRECTORY_VARIABLE: str(folder)},
        text=True,
    )
    file = folder / f"gauge_livemin_{started.pid}.db"
    with killed_at_last(started) as process:
        eventually(file.stat, retry_on=FileNotFoundError)
        yield process


@contextmanager
def process_that_counts(folder: Path, *kinds: str) -> Iterator[subprocess.Popen[str]]:
    """Has counted these by the time it is given, and lives until the block ends."""
    started = subprocess.Popen(
        [sys.executable, "-c", COUNTS],
        env=os.environ | {DIRECTORY_VARIABLE: str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with killed_at_last(started) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for kind in kinds:
            process.stdin.write(f"{kind}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "counted\n"
        yield process


@pytest.fixture
def registry(tmp_path: Path) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(DirectoryCollector(tmp_path))
    return registry


def sold(registry: CollectorRegistry, kind: str) -> float | None:
    return registry.get_sample_value("sold_total", {"kind": kind})


def test_several_processes_add_up(tmp_path: Path, registry: CollectorRegistry) -> None:
    with (
        process_that_counts(tmp_path, "seat", "seat"),
        process_that_counts(tmp_path, "seat", "box"),
    ):
        assert (sold(registry, "seat"), sold(registry, "box")) == (3, 1)
        assert registry.get_sample_value("rows_bucket", {"le": "10.0"}) == 4
        assert registry.get_sample_value("rows_sum") == 20
        assert registry.get_sample_value("waiting") == 4


def test_counters_of_exited_processes_stay_and_gauges_do_not(
    tmp_path: Path, registry: CollectorRegistry
) -> None:
    for _life in range(3):
        with process_that_counts(tmp_path, "seat", "box") as process:
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert registry.get_sample_value("waiting") in (None, 0)
    with process_that_counts(tmp_path, "seat"):
        for _scrape in range(2):
            assert (sold(registry, "seat"), sold(registry, "box")) == (4, 3)
            assert registry.get_sample_value("rows_count") == 7
            assert registry.get_sample_value("rows_bucket", {"le": "10.0"}) == 7
            assert registry.get_sample_value("waiting") == 2
        # However many have exited, their files are two.
        assert len(list(tmp_path.glob(f"*_{EXITED}.db"))) == 2
        assert len(list(tmp_path.glob("*.db"))) == 5


def loop_fired_at(registry: CollectorRegistry) -> float:
    at = registry.get_sample_value("eventify_event_loop_timestamp_seconds", {"service": "gateway"})
    return at or 0


def test_one_of_two_event_loops_that_hangs_is_seen_until_it_has_exited(
    tmp_path: Path, registry: CollectorRegistry
) -> None:
    with process_with_a_loop(tmp_path), process_with_a_loop(tmp_path) as hangs:

        def both_fire(since: float) -> None:
            assert loop_fired_at(registry) > since

        eventually(lambda: both_fire(since=0))
        hangs.send_signal(signal.SIGSTOP)
        soon = time.time() + 0.5
        with pytest.raises(AssertionError):
            eventually(lambda: both_fire(since=soon), within_seconds=2)
        hangs.kill()
        hangs.wait()
        eventually(lambda: both_fire(since=soon))


def test_the_empty_file_of_a_new_process_is_skipped(
    tmp_path: Path, registry: CollectorRegistry
) -> None:
    with process_that_counts(tmp_path, "seat"):
        (tmp_path / f"counter_{os.getpid()}.db").touch()
        assert sold(registry, "seat") == 1
