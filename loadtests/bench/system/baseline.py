"""Runs the baselines as processes of their own, for as long as they are measured."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psutil

from shared.free_port import free_port

START_SECONDS = 30.0
STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Server:
    """Processes that share a port."""

    port: int
    pids: list[int]


@contextmanager
def running_server(
    module: str, processes: int, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """This many processes `python -m MODULE PORT` on one port, until the block ends.

    Raises:
        RuntimeError: one ended, or does not listen in time.
    """
    port = free_port()
    with ExitStack() as stack:
        started = [
            stack.enter_context(_running(module, port, environment or {})) for _ in range(processes)
        ]
        _wait_until_listening(port, started)
        yield Server(port, [process.pid for process in started])


@contextmanager
def _running(
    module: str, port: int, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", "-m", module, str(port)],
        env=os.environ | environment,
        start_new_session=True,  # Ctrl-C is ours to handle
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_listening(port: int, started: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not all(_listens(process.pid, port) for process in started):
        if any(process.poll() is not None for process in started):
            raise RuntimeError("A server that is to be measured ended at its start; see above.")
        if time.monotonic() > deadline:
            raise RuntimeError(f"No server listens on port {port} after {START_SECONDS:.0f} s.")
        time.sleep(0.02)


def _listens(pid: int, port: int) -> bool:
    try:
        sockets = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return False  # it has just ended
    return any(s.status == psutil.CONN_LISTEN and s.laddr.port == port for s in sockets)
