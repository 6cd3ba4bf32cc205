"""The load generator: a process of its own, so that it shares no Python with what it measures."""

import gc
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import uvloop

from loadtests.bench.load.loops import closed_loop, open_loop
from loadtests.bench.load.requests import Load
from loadtests.bench.load.tally import LoadRun
from shared.web.server import raise_open_files_limit


class Generator:
    """Runs one load at a time."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def closed(self, port: int, load: Load, connections: int, seconds: float) -> LoadRun:
        """See `loops.closed_loop`."""
        return self.begin_closed(port, load, connections, seconds).result()

    def begin_closed(
        self, port: int, load: Load, connections: int, seconds: float
    ) -> Future[LoadRun]:
        """The same, not waited for."""
        return self._pool.submit(_closed, port, load, connections, seconds)

    def open(self, port: int, load: Load, moments: list[float]) -> LoadRun:
        """See `loops.open_loop`."""
        return self._pool.submit(_open, port, load, moments).result()


@contextmanager
def running_generator() -> Iterator[Generator]:
    """A generator until the block ends."""
    # Forked, it would have the benchmark's memory and connections.
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_prepare) as pool:
        yield Generator(pool)


def _prepare() -> None:
    # Ctrl-C reaches every process of a terminal; the benchmark itself ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_open_files_limit()
    # It makes no cycles, and a look through a hundred thousand prebuilt objects costs milliseconds.
    gc.disable()


def _closed(port: int, load: Load, connections: int, seconds: float) -> LoadRun:
    return uvloop.run(closed_loop(port, load, connections, seconds))


def _open(port: int, load: Load, moments: list[float]) -> LoadRun:
    return uvloop.run(open_loop(port, load, moments))
