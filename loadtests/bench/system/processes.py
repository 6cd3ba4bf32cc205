"""CPU time and memory of processes, from the kernel."""

from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

MIB = 1024 * 1024


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that these processes and all their children, past ones too, have taken so far."""
    return _sum(pids, lambda process: sum(process.cpu_times()[:4]))


def private_mib(pids: Iterable[int]) -> float:
    """Memory of these processes and their children; what is shared, counts in parts (PSS)."""
    return _sum(pids, lambda process: process.memory_full_info().pss) / MIB


def resident_mib(pid: int) -> float:
    resident: int = psutil.Process(pid).memory_info().rss
    return resident / MIB


def _sum(pids: Iterable[int], ask: Callable[[psutil.Process], float]) -> float:
    """The sum over these processes and their children.

    PostgreSQL ends processes of its own when it likes, and then their CPU time is their parent's.
    One that ended meanwhile would be counted twice or not at all: then the family is asked again.
    """
    total = 0.0
    for pid in pids:
        parent = psutil.Process(pid)
        while True:
            family = [parent, *parent.children(recursive=True)]
            with suppress(psutil.NoSuchProcess):
                asked = sum(map(ask, family))
                if [parent, *parent.children(recursive=True)] == family:
                    break
        total += asked
    return total
