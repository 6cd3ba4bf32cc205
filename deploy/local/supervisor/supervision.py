"""Starts the supervisor, stops it, and cleans up after it."""

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
from deploy.local.leftovers import end_leftovers, is_running
from deploy.local.supervisor.config import supervisor_config
from deploy.local.supervisor.program import POSTGRES_STOP_SECONDS, STOP_MARGIN_SECONDS, ProgramGroup
from shared.config.settings import Settings, variable
from shared.errors import ConfigurationError
from shared.process import SUPERVISED_IN

# What the supervisor itself may take beside its programs.
SUPERVISOR_SECONDS = 30
SOCKET_NAME = "supervisor.sock"
SUPERVISOR = "supervisor.supervisord"


def service_seconds(environment: Mapping[str, str]) -> int:
    """After which a service is killed that does not stop, with this environment."""
    default = Settings.model_fields["shutdown_seconds"].default
    return int(float(environment.get(variable("shutdown_seconds"), default))) + STOP_MARGIN_SECONDS


def stop_seconds(environment: Mapping[str, str]) -> int:
    """Longer than all groups may take, one after another, until they are killed."""
    return 2 * service_seconds(environment) + POSTGRES_STOP_SECONDS + SUPERVISOR_SECONDS


def make_socket_path() -> str:
    """In a private directory, with a path short enough for a socket.

    The limit is 108 bytes on Linux and 104 on macOS, so EVENTIFY_HOME itself may be too deep.
    """
    temporary = tempfile.gettempdir()
    # Nor may it contain characters with a meaning in supervisord's configuration.
    folder = temporary if re.fullmatch(r"[\w/.-]{1,60}", temporary) else "/tmp"  # noqa: S108
    return f"{tempfile.mkdtemp(prefix='eventify-', dir=folder)}/{SOCKET_NAME}"


def start_supervisor(
    home: Home,
    groups: Sequence[ProgramGroup],
    environment: Mapping[str, str],
    socket_path: str,
    inherited: Sequence[int],
) -> subprocess.Popen[bytes]:
    """Run supervisord in its own session.

    It keeps the `inherited` descriptors open: the home's lock, and its reserved ports. Its programs
    inherit this environment, so that no file needs a secret.
    """
    home.supervisor_config.write_text(supervisor_config(groups, socket_path))
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(home.logs / "supervisord.out", flags, 0o600), "wb") as output:
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", SUPERVISOR),
                *("--configuration", str(home.supervisor_config)),
            ],
            cwd=home.path,
            env=dict(environment) | {SUPERVISED_IN: str(home.path)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            umask=0o077,  # of the logs and of its programs
            pass_fds=inherited,
            start_new_session=True,
        )


def stop_supervisor(home: Home, pid: int) -> None:
    """Let supervisord stop everything in order, and wait for its end.

    Raises:
        ConfigurationError: it does not stop.
    """
    try:
        supervisor = psutil.Process(pid)
        supervisor.send_signal(signal.SIGTERM)
    except psutil.Error:
        return  # it has just exited
    deadline = time.monotonic() + stop_seconds(_recorded(home))
    while is_running(supervisor):
        if time.monotonic() > deadline:
            raise ConfigurationError(f"The supervisor (pid {pid}) of {home.path} does not stop.")
        time.sleep(0.05)


def clear_away(home: Home) -> int:
    """End processes of a killed supervisor and delete its record; only with the lock.

    Returns the number of processes ended.
    """
    ended = end_leftovers(home, service_seconds(_recorded(home)), POSTGRES_STOP_SECONDS)
    state = read_state(home)
    if state is not None and Path(state.supervisor_socket).name == SOCKET_NAME:
        shutil.rmtree(Path(state.supervisor_socket).parent, ignore_errors=True)
    home.state_file.unlink(missing_ok=True)
    return ended


def _recorded(home: Home) -> Mapping[str, str]:
    """The environment of the services, as it was last started."""
    state = read_state(home)
    return state.environment if state else {}
