"""PostgreSQL's system user, made where Eventify runs as root."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.local.servers.embedded import _give_to, run_as
from deploy.local.servers.wheels import ensure_user

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


@pytest.mark.parametrize("link", ["postgres", "postgres/data"])
def test_a_database_on_another_disk_can_be_reached_and_the_disk_stays_its_owners(
    new_user: str, tmp_path: Path, link: str
) -> None:
    home, disk = tmp_path / "home", tmp_path / "disk"
    (disk / "database").mkdir(parents=True)
    (home / link).parent.mkdir(parents=True)
    (home / link).symlink_to(disk / "database")
    for path in (home, disk):
        path.chmod(0o700)
    ensure_user(new_user)
    user = pwd.getpwnam(new_user)
    os.chown(disk / "database", user.pw_uid, user.pw_gid)

    _give_to(new_user, home / "postgres")

    modes = [(path.stat().st_gid, path.stat().st_mode & 0o777) for path in (home, disk)]
    assert modes == [(user.pw_gid, 0o710), (0, 0o701)]
    reached = subprocess.run(["ls", home / link], **run_as(new_user), check=False)
    assert reached.returncode == 0
