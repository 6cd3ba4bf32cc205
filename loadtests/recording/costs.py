"""CPU time of each service of the system that runs here, and of the load test itself."""

import os
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from loadtests.eventify_command import running_system
from loadtests.recording.database import address

# Every process of Locust on this machine with its children, also of workers started apart.
LOAD_TEST = "load test"
# A process that is being started may still show its parent's command, or none.
YOUNG_SECONDS = 5.0
# Whatever else this machine is busy with.
THE_REST = "the rest"


class Costs:
    """Of the system that runs here; asking which it is takes a second, beside everything else."""

    def __init__(self) -> None:
        asking = ThreadPoolExecutor(1)
        self._system = asking.submit(running_system)
        asking.shutdown(wait=False)
        self._is_locust: dict[int, bool] = {}
        self._of_locusts: dict[int, float] = {}

    def cpu_seconds(self, host: str) -> dict[str, float]:
        """CPU time taken so far, by service.

        Args:
            host: the gateway that is tested.

        Returns:
            Nothing while it is not known yet, nor where that gateway runs elsewhere.
        """
        system = self._system.result() if self._system.done() else None
        if system is None or address(system["gateway_url"]) != address(host):
            return {}
        # Those of `gateway-1` and `gateway-2` are gateways.
        services = {one["pid"]: one["name"].rstrip("-0123456789") for one in system["processes"]}
        locusts = dict.fromkeys([os.getppid(), *self._locusts()], LOAD_TEST)
        by_process = cpu_seconds_by_process({*locusts, *services})
        # What a process took that has ended was taken all the same.
        for pid in locusts.keys() - services:
            self._of_locusts[pid] = max(by_process[pid], self._of_locusts.get(pid, 0.0))
        seconds = dict.fromkeys(services.values(), 0.0)
        for pid, name in services.items():
            seconds[name] += by_process[pid]
        seconds[LOAD_TEST] = sum(self._of_locusts.values())
        machine = psutil.cpu_times()
        busy: float = machine.user + machine.nice + machine.system + machine.irq + machine.softirq
        return seconds | {THE_REST: busy - sum(seconds.values())}

    def _locusts(self) -> list[int]:
        """The processes of Locust; the command of one that is not young is read once."""
        young_since = time.time() - YOUNG_SECONDS
        known, self._is_locust = self._is_locust, {}
        found = []
        for one in psutil.process_iter(["create_time"]):
            is_one = known[one.pid] if one.pid in known else is_locust(one)
            if one.info["create_time"] < young_since:
                self._is_locust[one.pid] = is_one
            if is_one:
                found.append(one.pid)
        return found


def is_locust(process: psutil.Process) -> bool:
    """Whether it was started as `locust ...` or `python -m locust ...`."""
    try:
        return "locust" in [Path(part).name for part in process.cmdline()[:3]]
    except psutil.Error:
        return False


def cpu_seconds_by_process(roots: Collection[int]) -> dict[int, float]:
    """CPU time of each of these processes, with its children but for those that are roots too."""
    table = {one.pid: one.info for one in psutil.process_iter(["ppid", "cpu_times"])}
    seconds = dict.fromkeys(roots, 0.0)
    for pid, info in table.items():
        ancestor: int | None = pid
        while ancestor in table and ancestor not in seconds:
            ancestor = table[ancestor]["ppid"]
        if ancestor in seconds and info["cpu_times"] is not None:
            seconds[ancestor] += sum(info["cpu_times"][:4])
    return seconds
