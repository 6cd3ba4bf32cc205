"""A soak of a quarter of a minute: everything is done, sampled, judged and drawn."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from loadtests.soak.chart import draw
from loadtests.soak.load.tally import NOTHING_DECIDED
from loadtests.soak.report import SoakReport, write_json
from loadtests.soak.run import SoakOptions, run_soak

# It starts a system, and a busy machine makes it slow.
pytestmark = pytest.mark.timeout(300)

PER_SECOND = 20.0
DONE = (
    "cancel",
    "confirm",
    "export",
    "list",
    "pages and sale documents",
    "refresh",
    "release",
    "sale paused",
    "sales opened",
    "sign-in",
    "sold out",
)
PROCESSES = ("catalog-1", "gateway-1", "postgres", "sender-1", "sweeper-1", "valkey", "worker-1")
SAMPLED = (
    *(f"{kind}:{name}" for kind in ("private_mib", "open_files", "threads") for name in PROCESSES),
    "connections",
    "connections_of:eventify-gateway",
    "dead_rows:work_list",
    "entries",
    "relation_mib:ledger/ledger_pkey",
    "valkey_mib",
    "wal_mib",
    "wasted_mib:refresh_tokens",
)


@pytest.fixture(scope="module")
def report() -> SoakReport:
    options = SoakOptions(0.25, PER_SECOND, datetime.now(UTC))
    return run_soak(options, lambda _line: None, threading.Event())


def test_everything_is_done_and_every_answer_is_as_expected(report: SoakReport) -> None:
    # Its system was audited as well.
    assert report.errors == []
    assert report.seconds > 14
    assert [what for what in DONE if not report.counts.get(what)] == []


def test_everything_is_sampled_and_judged(report: SoakReport) -> None:
    first, last = report.samples[0], report.samples[-1]
    assert first.at < 5 < last.at
    sampled = {name for sample in report.samples for name in sample.figures}
    assert set(SAMPLED) <= sampled
    assert last.figures["entries"] > first.figures["entries"]
    assert last.figures["private_mib:gateway-1"] > 10
    assert {"memory of gateway-1", "p99 until decided", "size of work_list"} <= {
        verdict.curve for verdict in report.verdicts
    }


def test_refresh_tokens_of_the_hour_before_are_deleted(report: SoakReport) -> None:
    dead = [sample.figures["dead_rows:refresh_tokens"] for sample in report.samples]
    assert max(dead) > 0


def test_it_is_reported_as_a_file_and_a_chart(report: SoakReport, tmp_path: Path) -> None:
    write_json(report, tmp_path / "soak.json")
    assert msgspec.json.decode((tmp_path / "soak.json").read_bytes(), type=SoakReport) == report
    draw(report, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")


def test_a_soak_that_is_stopped_is_judged_as_far_as_it_came(tmp_path: Path) -> None:
    stopped = threading.Event()

    def stop_once_it_sells(line: str) -> None:
        if line.startswith("Selling"):
            stopped.set()

    report = run_soak(SoakOptions(60, PER_SECOND, datetime.now(UTC)), stop_once_it_sells, stopped)
    assert set(report.errors) <= {NOTHING_DECIDED}
    assert report.seconds < 600
    draw(report, tmp_path / "soak.png")
