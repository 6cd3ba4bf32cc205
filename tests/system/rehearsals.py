"""Rehearsals of an on-sale: real Locust processes against a running system."""

import csv
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.support.processes import killed_at_last
from tests.system.conftest import Shop
from tests.system.operators import PROJECT

# A rehearsal here takes seconds; what hangs fails.
LIMIT_SECONDS = 90
SHORT = ("--users", "16", "--spike-users", "24", "--quiet-seconds", "1", "--run-time", "4s")


@contextmanager
def running(shop: Shop, *module: str) -> Iterator["subprocess.Popen[str]"]:
    """`python -m MODULE ARGUMENTS`, until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=PROJECT,
        env=shop.operator.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with killed_at_last(process):
        yield process


def output_of(process: "subprocess.Popen[str]", exit_code: int = 0) -> str:
    output, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == exit_code, output
    return output


def request_counts(csv_prefix: Path) -> defaultdict[str, int]:
    """Locust's counts by name, none of which failed."""
    with Path(f"{csv_prefix}_stats.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["Failure Count"] for row in rows} == {"0"}
    return defaultdict(int, {row["Name"]: int(row["Request Count"]) for row in rows})


def rehearsed_with_holds(shop: Shop, folder: Path, *arguments: str) -> dict[str, Any]:
    """The summary of a rehearsal in which some pay."""
    half_pays = [*SHORT, "--abandon", "0.5", "--report-dir", str(folder), *arguments]
    with running(shop, "loadtests", *half_pays) as process:
        assert "Verdict: good (exit code 0)" in output_of(process)
    summary: dict[str, Any] = msgspec.json.decode((folder / "summary.json").read_bytes())
    return summary
