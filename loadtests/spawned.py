"""Processes of our own, beside the one that measures."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context


@contextmanager
def spawned_process(prepare: Callable[[], None] | None = None) -> Iterator[ProcessPoolExecutor]:
    """One process that runs what is submitted, until the block ends; `prepare` runs there first."""
    # Forked, it would have this process's memory and connections.
    context = get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=_start, initargs=(prepare,)) as pool:
        yield pool


def _start(prepare: Callable[[], None] | None) -> None:
    # Ctrl-C reaches every process of a terminal; the one that measures ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if prepare is not None:
        prepare()
