"""Runs a real service as a process of its own, for as long as a test needs it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from shared.config.settings import Settings
from tests.support.forked_service import ForkedService, can_fork
from tests.support.orphans import watched_folder, watched_folder_in_memory
from tests.support.waiting import eventually

PROJECT = Path(__file__).parents[2]


def environment(settings: Settings) -> dict[str, str]:
    """The environment in which a process gets these settings."""
    return os.environ | {
        f"EVENTIFY_{name.upper()}": str(getattr(settings, name))
        for name in settings.model_fields_set
    }


@contextmanager
def folder_for_servers(*, in_memory: bool = False) -> Iterator[Path]:
    """A new folder that goes with the block.

    It is none of pytest's: those lie in one that every run of pytest shuts to all other users
    again, and the embedded PostgreSQL of root runs as another user. What is started after this ends
    with this process, whatever ends it.
    """
    parent = watched_folder_in_memory() if in_memory else watched_folder()
    with TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def running_service(
    module: str, settings: Settings, ready_url: str | None = None
) -> Iterator[subprocess.Popen[bytes] | ForkedService]:
    """Run `python -m module` with these settings; wait until `ready_url` answers 200.

    Where it makes no difference, it is a fork of a process that has imported it.

    The process is asked to stop at the end (SIGTERM), and must do so within its time.
    """
    variables = environment(settings)
    process = (
        ForkedService(module, PROJECT, variables)
        if can_fork(module, variables)
        else subprocess.Popen([sys.executable, "-m", module], cwd=PROJECT, env=variables)
    )
    try:
        if ready_url is not None:

            def ready() -> None:
                assert process.poll() is None, f"{module} ended with code {process.returncode}"
                assert httpx.get(ready_url).status_code == 200

            eventually(ready, retry_on=(AssertionError, httpx.TransportError), within_seconds=60)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@contextmanager
def stop_signals_refused() -> Iterator[None]:
    """What is started here inherits that SIGINT and SIGTERM are ignored and blocked."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        for number, handler in before.items():
            signal.signal(number, handler)
