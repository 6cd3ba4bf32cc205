"""What processes cost, by one look at the process table."""

import os
import subprocess
import sys

import psutil
import pytest

from loadtests.recording.costs import cpu_seconds_by_process, is_locust
from tests.support.processes import killed_at_last
from tests.support.waiting import eventually

BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint()\ninput()"
# The kernel counts in hundredths, of user and system time apart.
BUSY_SECONDS = 0.27


@pytest.mark.parametrize(
    ("arguments", "is_one"),
    [
        (["-c", BUSY, "locust"], False),
        (["-m", "locust", "--help"], True),
        (["-c", BUSY], False),
    ],
)
def test_a_worker_of_locust_is_known_wherever_it_was_started(
    arguments: list[str], is_one: bool
) -> None:
    started = subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE)
    with killed_at_last(started) as process:

        def has_its_own_command() -> None:
            assert arguments[1] in psutil.Process(process.pid).cmdline()

        eventually(has_its_own_command)
        assert is_locust(psutil.Process(process.pid)) is is_one


def test_a_process_pays_for_its_children_while_they_run_and_afterwards() -> None:
    own = os.getpid()
    before = cpu_seconds_by_process([own])[own]
    started = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with killed_at_last(started) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert cpu_seconds_by_process([own])[own] >= before + BUSY_SECONDS
        # A child that is asked for itself is not its parent's.
        assert cpu_seconds_by_process([own, child.pid])[child.pid] >= BUSY_SECONDS
        child.communicate(b"\n")
    assert cpu_seconds_by_process([own])[own] >= before + BUSY_SECONDS
