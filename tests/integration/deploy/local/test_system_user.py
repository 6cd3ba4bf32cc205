"""PostgreSQL's system user, made where Eventify runs as root."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

MAKE = "import sys; from deploy.local.servers.wheels import ensure_user; ensure_user(sys.argv[1])"


@pytest.fixture
def new_user() -> Iterator[str]:
    if os.geteuid() != 0:
        pytest.skip("only root can make users")
    name = f"eventify-test-{uuid4().hex[:8]}"
    yield name
    subprocess.run(["userdel", name], check=False, capture_output=True)


def test_processes_that_start_together_make_one_user(new_user: str) -> None:
    started = [subprocess.Popen([sys.executable, "-c", MAKE, new_user]) for _ in range(8)]
    assert [process.wait(timeout=60) for process in started] == [0] * len(started)
    entries = Path("/etc/passwd").read_text().splitlines()
    assert [line.split(":")[0] for line in entries].count(new_user) == 1
    assert pwd.getpwnam(new_user).pw_uid >= 0
