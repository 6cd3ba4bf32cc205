"""Where and what was measured: without it, figures say little."""

import os
import platform
import re
import subprocess
from pathlib import Path

import msgspec
import psutil
from sqlalchemy import Engine

PROJECT = Path(__file__).parent.parent.parent.parent


class Machine(msgspec.Struct, frozen=True):
    cores: int
    cpu_model: str
    memory_gib: float
    kernel: str
    python: str
    postgresql: str
    git_commit: str | None
    changed_since_commit: bool | None


def this_machine(engine: Engine) -> Machine:
    with engine.connect() as connection:
        postgresql = str(connection.exec_driver_sql("SHOW server_version").scalar_one())
    changes = _git("status", "--porcelain")
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu_model=_cpu_model(),
        memory_gib=round(psutil.virtual_memory().total / 1024**3, 1),
        kernel=platform.release(),
        python=platform.python_version(),
        postgresql=postgresql,
        git_commit=_git("rev-parse", "HEAD"),
        changed_since_commit=None if changes is None else bool(changes),
    )


def _cpu_model() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _git(*arguments: str) -> str | None:
    """What git says; None where this is no clone, or there is no git."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - whichever git there is
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
