"""The memory of each service while a window lasts, looked at from a process of its own."""

import re
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import psutil

LOOK_SECONDS = 0.25
KIB_PER_MIB = 1024
# PostgreSQL's processes share its buffers, whose size is fixed by its configuration.
COUNTED, SHARED_BUFFERS = "Pss", "Pss_Shmem"
FIELD = re.compile(rf"^({COUNTED}|{SHARED_BUFFERS}):\s+(\d+) kB$", re.MULTILINE)


def largest_mib(pids: Mapping[str, int], seconds: float) -> dict[str, float]:
    """The most that each service and its children had in this time; 0 when it has ended.

    Args:
        pids: of the services by name; those of `gateway-1` and `gateway-2` are added up.
        seconds: how long to look.
    """
    largest: dict[str, float] = {}
    ends_at = time.monotonic() + seconds
    while True:
        now: defaultdict[str, float] = defaultdict(float)
        for name, pid in pids.items():
            now[name.rstrip("-0123456789")] += _family_mib(pid)
        largest = {name: max(mib, largest.get(name, 0.0)) for name, mib in now.items()}
        if (left := ends_at - time.monotonic()) <= 0:
            return largest
        time.sleep(min(LOOK_SECONDS, left))


def _family_mib(pid: int) -> float:
    try:
        parent = psutil.Process(pid)
        family = [pid, *(child.pid for child in parent.children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0.0
    return sum(map(_mib, family))


def _mib(pid: int) -> float:
    try:
        found = dict(FIELD.findall(Path(f"/proc/{pid}/smaps_rollup").read_text()))
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it has just ended
    return (int(found.get(COUNTED, 0)) - int(found.get(SHARED_BUFFERS, 0))) / KIB_PER_MIB
