"""What processes cost, by one look at the process table."""

import os
import subprocess
import sys

from loadtests.costs import THE_REST, cpu_seconds_of

BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint()\ninput()"
# The kernel counts in hundredths, of user and system time apart.
BUSY_SECONDS = 0.27


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
