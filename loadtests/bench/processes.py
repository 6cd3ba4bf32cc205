"""What processes cost: CPU time and memory, as the kernel tells them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import psutil

MIB = 1024 * 1024


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that these processes and all their children, past ones too, have taken so far."""
    return sum(_of_each(pids, lambda process: sum(process.cpu_times()[:4])))


def private_mib(pids: Iterable[int]) -> float:
    """Memory of these processes and their children; what is shared, counts in parts (PSS)."""
    return sum(_of_each(pids, lambda process: process.memory_full_info().pss)) / MIB


def resident_mib(pid: int) -> float:
    """Resident memory of one process (RSS)."""
    resident: int = psutil.Process(pid).memory_info().rss
    return resident / MIB


def _of_each(pids: Iterable[int], ask: Callable[[psutil.Process], float]) -> Iterator[float]:
    """The answers of these processes and of their children, but for those that have just ended."""
    for pid in pids:
        parent = psutil.Process(pid)
        yield ask(parent)
        for child in parent.children(recursive=True):
            # PostgreSQL ends processes of its own when it likes.
            with suppress(psutil.NoSuchProcess):
                yield ask(child)
