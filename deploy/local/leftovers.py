"""Finds and ends the processes of a system whose supervisor was killed, or its home deleted."""

import signal
import time
from contextlib import suppress

import psutil

from deploy.local.home import Home
from deploy.local.supervisor.client import Process
from shared.process import SUPERVISED_IN

# A kill takes no time; but a process stuck on a broken disk never ends.
KILLED_SECONDS = 5
# These overwrite their environment with their titles: their working directory identifies them.
EMBEDDED_SERVERS = {"postgres": "postgres", "valkey-server": "valkey"}
# supervisord sets it in the environment of each program.
NAME_VARIABLE = "SUPERVISOR_PROCESS_NAME"
# It has none itself, and is a leftover where its home was deleted.
SUPERVISOR = "supervisor"


def end_leftovers(home: Home, services_seconds: int, servers_seconds: int) -> int:
    """End the services, then their servers; returns the number of processes.

    Args:
        home: of the system.
        services_seconds: how long services may take to stop before they are killed.
        servers_seconds: the same for PostgreSQL and Valkey.
    """
    found = _leftovers(home)
    servers = {process for process in found if process_name(process) in EMBEDDED_SERVERS}
    end_processes(found - servers, services_seconds)
    end_processes(servers, servers_seconds)
    return len(found)


def unsupervised_processes(home: Home) -> list[Process]:
    """Programs without a supervisor, or a supervisor without its home; not their children."""
    found = _leftovers(home)
    pids = {process.pid for process in found}
    processes = []
    for process in found:
        with suppress(psutil.Error):
            if process.ppid() not in pids:
                name = EMBEDDED_SERVERS.get(process.name()) or process.environ().get(
                    NAME_VARIABLE, SUPERVISOR
                )
                processes.append(Process(name, "unsupervised", process.pid, restarts=None))
    return sorted(processes, key=lambda process: (process.name, process.pid or 0))


def _leftovers(home: Home) -> set[psutil.Process]:
    me = psutil.Process()
    return {
        process for process in psutil.process_iter() if process != me and belongs_to(process, home)
    }


def belongs_to(process: psutil.Process, home: Home) -> bool:
    """Whether it was started by a supervisor of this home."""
    try:
        if process.name() in EMBEDDED_SERVERS:
            # Each may be a link, say to another disk.
            folders = (home.postgres / "data", home.valkey)
            return process.cwd() in [str(folder.resolve()) for folder in folders]
        return process.environ().get(SUPERVISED_IN) == str(home.path)
    except (psutil.Error, OSError):
        return False  # it exited meanwhile, or is another user's


def end_processes(processes: set[psutil.Process], seconds: int) -> None:
    """Send each its stop signal, and kill those that are running after this time."""
    pids = {process.pid for process in processes}
    for process in processes:
        with suppress(psutil.Error):
            # A program stops its own children.
            if process.ppid() not in pids:
                # SIGINT is PostgreSQL's fast shutdown; on SIGTERM it would wait for sessions.
                fast = process.name() == "postgres"
                process.send_signal(signal.SIGINT if fast else signal.SIGTERM)
    for process in _wait(processes, seconds):
        with suppress(psutil.Error):
            process.kill()
    _wait(processes, KILLED_SECONDS)


def _wait(processes: set[psutil.Process], seconds: int) -> list[psutil.Process]:
    """Those that are running after this time."""
    deadline = time.monotonic() + seconds
    while (alive := [p for p in processes if is_running(p)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive


def is_running(process: psutil.Process) -> bool:
    """Zombies are not running."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def process_name(process: psutil.Process) -> str:
    """Empty if it has exited."""
    try:
        return process.name()
    except psutil.Error:
        return ""
