"""What processes cost: CPU time and memory, as the kernel tells them."""

from collections.abc import Iterable

import psutil

MIB = 1024 * 1024


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that these processes and all their children, past ones too, have taken so far."""
    return sum(sum(process.cpu_times()[:4]) for process in _families(pids))


def private_mib(pids: Iterable[int]) -> float:
    """Memory of these processes and their children; what is shared, counts in parts (PSS)."""
    return sum(process.memory_full_info().pss for process in _families(pids)) / MIB


def resident_mib(pid: int) -> float:
    """Resident memory of one process (RSS)."""
    resident: int = psutil.Process(pid).memory_info().rss
    return resident / MIB


def _families(pids: Iterable[int]) -> list[psutil.Process]:
    parents = [psutil.Process(pid) for pid in pids]
    return [*parents, *(child for parent in parents for child in parent.children(recursive=True))]
