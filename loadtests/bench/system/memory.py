"""What each process of a system holds in memory."""

from loadtests.bench.report.figures import Figure
from loadtests.bench.system.eventify import BenchSystem
from loadtests.bench.system.processes import private_mib


def memory(system: BenchSystem, when: str) -> list[Figure]:
    """A figure for each process with its children; what several share is counted in parts."""
    return [
        Figure(
            name=f"memory_of_{name}_{when}_mib".replace(" ", "_").replace("-", "_"),
            label=f"memory of {name}, {when}",
            unit="MiB",
            values=[private_mib([pid])],
        )
        for name, pid in system.pids.items()
    ]
