"""What processes cost, by one look at the process table."""

import os
import subprocess
import sys

import psutil
import pytest

from loadtests.recording.costs import THE_REST, cpu_seconds_of, is_locust
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
    with subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE) as process:

        def has_its_own_command() -> None:
            assert arguments[1] in psutil.Process(process.pid).cmdline()

        eventually(has_its_own_command)
        assert is_locust(psutil.Process(process.pid)) is is_one
        process.kill()


def test_a_service_pays_for_its_children_while_they_live_and_afterwards() -> None:
    ours = {os.getpid(): "tests"}
    before = cpu_seconds_of(ours)["tests"]
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert cpu_seconds_of(ours)["tests"] >= before + BUSY_SECONDS
        # One that is a service of its own is not its parent's.
        apart = cpu_seconds_of(ours | {child.pid: "child"})
        assert apart["child"] >= BUSY_SECONDS
        child.communicate(b"\n")
    assert cpu_seconds_of(ours)["tests"] >= before + BUSY_SECONDS
    assert cpu_seconds_of(ours)[THE_REST] > 0
