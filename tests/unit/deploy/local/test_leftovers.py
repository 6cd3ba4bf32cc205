"""Which processes are of a system whose supervisor was killed."""

import shutil
import subprocess
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from deploy.cli.main import main
from deploy.local.home import Home
from deploy.local.leftovers import belongs_to, unsupervised_processes
from shared.process import SUPERVISED_IN


@pytest.mark.parametrize(
    ("server", "link", "folder"),
    [
        ("postgres", "postgres", "data"),
        ("postgres", "postgres/data", ""),
        ("valkey-server", "valkey", ""),
    ],
)
def test_a_server_whose_files_are_on_another_disk_is_found(
    tmp_path: Path, server: str, link: str, folder: str
) -> None:
    home, disk = Home(tmp_path / "home"), tmp_path / "disk"
    (disk / folder).mkdir(parents=True)
    (home.path / link).parent.mkdir(parents=True)
    (home.path / link).symlink_to(disk)
    program = tmp_path / server
    shutil.copy(str(shutil.which("sleep")), program)
    with subprocess.Popen([program, "60"], cwd=disk / folder) as process:
        try:
            assert belongs_to(psutil.Process(process.pid), home)
            assert not belongs_to(psutil.Process(process.pid), Home(tmp_path / "other"))
        finally:
            process.kill()


def test_a_system_whose_home_was_deleted_is_found_and_stopped(tmp_path: Path) -> None:
    home = Home(tmp_path / "deleted")
    with subprocess.Popen(["sleep", "60"], env={SUPERVISED_IN: str(home.path)}) as supervisor:
        try:
            (found,) = unsupervised_processes(home)
            assert (found.name, found.pid) == ("supervisor", supervisor.pid)
            stopped = CliRunner().invoke(main, ["down"], env={"EVENTIFY_HOME": str(home.path)})
            assert stopped.output == "Eventify is stopped.\n"
            assert supervisor.wait(timeout=5) < 0
            stopped = CliRunner().invoke(main, ["down"], env={"EVENTIFY_HOME": str(home.path)})
            assert stopped.output == f"Nothing is running in {home.path}.\n"
        finally:
            supervisor.kill()
    assert not home.path.exists()
