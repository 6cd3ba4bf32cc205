"""Ends what a test process started when it has ended itself, also by SIGKILL.

`python -m tests.support.orphans PID FOLDER...` waits for the end of its parent, PID. Then it ends
each process that has a FOLDER in its environment or stands in it, and deletes them. Where fixtures
could do so themselves nothing is left to do.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import psutil

from deploy.local.leftovers import end_processes

PROJECT = Path(__file__).parents[2]
# In the environment of everything that a test process starts. PostgreSQL and Valkey overwrite it
# with their titles, so they are known by where they stand.
STARTED_FROM = "TESTS_FOLDER"
# xdist's processes inherit it.
FOLDER_OF_RUN = "TESTS_FOLDER_OF_RUN"
# A supervisor stops a whole system meanwhile.
END_SECONDS = 60
LOOK_SECONDS = 0.2
# Linux's folder in memory. Containers often have 64 MB of it, and machines may have less than it
# claims.
MEMORY = Path("/dev/shm")
ENOUGH_MEMORY_BYTES = 4 << 30


def folder_of_run() -> Path:
    """A folder that all processes of a run of pytest share; of this one alone outside of it."""
    return Path(os.environ.setdefault(FOLDER_OF_RUN, str(watched_folder())))


def watched_folder() -> Path:
    """The folder of this test process, for its servers; they end when this process has ended."""
    return _watched_folders()[0]


def watched_folder_in_memory() -> Path:
    """Another one, in memory if there is enough of it."""
    return _watched_folders()[-1]


@cache
def _watched_folders() -> list[Path]:
    folders = [_new_folder(None)]
    if MEMORY.is_dir():
        free = min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available)
        if free >= ENOUGH_MEMORY_BYTES:
            folders.append(_new_folder(MEMORY))
    os.environ[STARTED_FROM] = str(folders[0])
    subprocess.Popen(
        [sys.executable, "-m", "tests.support.orphans", str(os.getpid()), *map(str, folders)],
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if name != STARTED_FROM},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the tests
    ).returncode = 0  # nobody waits for it: it outlives this process
    return folders


def _new_folder(parent: Path | None) -> Path:
    folder = Path(mkdtemp(prefix="eventify-test-", dir=parent)).resolve()
    folder.chmod(0o711)  # the embedded PostgreSQL of root runs as another user
    return folder


def main(parent: int, folders: list[Path]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    # What is just being started is found by the second look.
    while found := set[psutil.Process]().union(*map(started_from, folders)):
        end_processes(found, END_SECONDS)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def started_from(folder: Path) -> set[psutil.Process]:
    return {process for process in psutil.process_iter() if _belongs(process, folder)}


def _belongs(process: psutil.Process, folder: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.environ().get(STARTED_FROM) == str(folder) or process.cwd().startswith(
            f"{folder}/"
        )
    except (psutil.Error, OSError):
        return False


if __name__ == "__main__":
    main(int(sys.argv[1]), [Path(folder) for folder in sys.argv[2:]])
