"""Starts the supervisor, stops it, and clears away what it leaves."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from deploy.local.home import Home, read_state
from deploy.local.leftovers import end_leftovers, lives
from deploy.local.supervisor.config import supervisor_config
from deploy.local.supervisor.program import POSTGRES_STOP_SECONDS, ProgramGroup
from shared.errors import ConfigurationError
from shared.process import SUPERVISED_IN

# Longer than all groups may take, one after the other, each until it is killed.
STOP_SECONDS = 120
# What a service without a supervisor may take to end.
LEFTOVER_SECONDS = 15
SOCKET_NAME = "supervisor.sock"


def make_socket_path() -> str:
    """Where supervisord shall listen: a private folder, its path short enough for a socket.

    The limit is 108 bytes on Linux and 104 on macOS, so EVENTIFY_HOME itself may be too deep.
    """
    temporary = tempfile.gettempdir()
    # Nor may anything stand in it that supervisord's configuration would read in its own way.
    folder = temporary if re.fullmatch(r"[\w/.-]{1,60}", temporary) else "/tmp"  # noqa: S108
    return f"{tempfile.mkdtemp(prefix='eventify-', dir=folder)}/{SOCKET_NAME}"


def start_supervisor(
    home: Home,
    groups: Sequence[ProgramGroup],
    environment: Mapping[str, str],
    socket_path: str,
    inherited: Sequence[int],
) -> subprocess.Popen[bytes]:
    """Run supervisord, apart from this terminal.

    It holds the `inherited` descriptors until it ends: the home's lock, and its reserved ports.

    Everything that it starts inherits this environment, so no secret has to stand in a file.
    """
    home.supervisor_config.write_text(supervisor_config(groups, socket_path))
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(home.logs / "supervisord.out", flags, 0o600), "wb") as output:
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "supervisor.supervisord"),
                *("--configuration", str(home.supervisor_config)),
            ],
            cwd=home.path,
            env=dict(environment) | {SUPERVISED_IN: str(home.path)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            umask=0o077,  # of the logs, and of all that it starts
            pass_fds=inherited,
            start_new_session=True,
        )


def stop_supervisor(home: Home, pid: int) -> None:
    """Ask supervisord to stop everything in order, and wait until it is gone.

    Raises:
        ConfigurationError: it does not end.
    """
    try:
        supervisor = psutil.Process(pid)
        supervisor.send_signal(signal.SIGTERM)
    except psutil.Error:
        return  # it has just ended
    deadline = time.monotonic() + STOP_SECONDS
    while lives(supervisor):
        if time.monotonic() > deadline:
            raise ConfigurationError(f"The supervisor (pid {pid}) of {home.path} does not stop.")
        time.sleep(0.05)


def clear_away(home: Home) -> int:
    """End what a killed supervisor left running, and forget it; only for who holds the lock.

    Returns how many processes had to be ended.
    """
    ended = end_leftovers(home, LEFTOVER_SECONDS, POSTGRES_STOP_SECONDS)
    state = read_state(home)
    if state is not None and Path(state.supervisor_socket).name == SOCKET_NAME:
        shutil.rmtree(Path(state.supervisor_socket).parent, ignore_errors=True)
    home.state_file.unlink(missing_ok=True)
    return ended
