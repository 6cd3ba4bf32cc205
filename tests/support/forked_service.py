"""Services as forks of a process that has imported them: that is most of what a start takes."""

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path

from shared.config.settings import PREFIX, get_settings
from tests.support.orphans import watched_folder

FORKED = ("gateway", "catalog", "purchase_worker.sweep", "webhook_sender")
# Read where they are imported.
AT_IMPORT = ("EVENTIFY_FAILPOINTS", "EVENTIFY_CHAOS_CONTROL")


class ForkedService:
    """`python -m module` with this environment, as far as `subprocess.Popen` goes."""

    def __init__(self, module: str, folder: Path, environment: dict[str, str]) -> None:
        process = _context().Process(target=_run, args=(module, str(folder), environment))
        process.start()
        assert process.pid is not None
        self.pid = process.pid
        self._process = process

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def can_fork(module: str, environment: dict[str, str]) -> bool:
    """Whether a fork inherits the same as a process started here, but for settings."""
    if module not in FORKED or any(name in environment for name in AT_IMPORT):
        return False
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return False
    return _inherited(environment) == AT_FIRST


def _inherited(environment: Mapping[str, str]) -> tuple[dict[str, str], list[int]]:
    """Variables, without settings and pytest's, and where output goes: `capfd` redirects it."""
    variables = {
        name: value
        for name, value in environment.items()
        if not name.startswith((PREFIX, "PYTEST_", "TESTS_"))
    }
    return variables, [os.fstat(number).st_ino for number in (1, 2)]


AT_FIRST = _inherited(os.environ)


@cache
def _context() -> ForkServerContext:
    watched_folder()  # a variable has it, by which what it starts is found
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.support.imported_services"])
    return context


def _run(module: str, folder: str, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    get_settings.cache_clear()
    sys.argv = [module]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:  # as the interpreter ends
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
