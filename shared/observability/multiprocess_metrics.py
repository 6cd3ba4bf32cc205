"""Exports the metrics of several processes of one machine as one (docs/decisions/0014).

If PROMETHEUS_MULTIPROC_DIR names a directory, prometheus-client counts in files there, a few for
each process. Counters and histograms of a process stay after its exit, gauges do not. All processes
of a directory must see each other's ids: so each container has its own.
"""

import asyncio
import fcntl
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Metric, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from shared.concurrency.single_flight import SingleFlight

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# In the name of the file that adds up all processes that have exited: no process has this id.
EXITED = 0


def metrics_of_all() -> Collector:
    """The metrics of all processes of the directory, or else of this one.

    Raises:
        ValueError: the directory does not exist.
    """
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if not directory:
        return REGISTRY
    registry = CollectorRegistry()
    registry.register(DirectoryCollector(Path(directory)))
    return registry


def shared_scrape(metrics: Collector) -> SingleFlight[bytes]:
    """The metrics as text, read at most five times a second, however often it is requested.

    Reading the files of many processes takes milliseconds, so that is below a tenth of a core.
    """

    async def scrape() -> bytes:
        return await asyncio.to_thread(generate_latest, metrics)

    return SingleFlight(scrape, burst=20, per_second=5.0)


class DirectoryCollector(MultiProcessCollector):
    """Reads the files of a directory, and merges those of processes that have exited.

    prometheus-client merges when it reads, and writes nothing back: its files would pile up with
    each restart. Hence its private `mmap_dict`, the format of the files.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(None, str(directory))  # type: ignore[no-untyped-call]
        self._directory = directory

    def collect(self) -> Iterator[Metric]:
        with _locked(self._directory):
            compact_dead_processes(self._directory)
            # The file of a process that has just started may still be empty.
            files = [file for file in self._directory.glob("*.db") if file.stat().st_size]
            found = list(self.merge(map(str, files)))  # type: ignore[no-untyped-call]
        yield from found


def compact_dead_processes(directory: Path) -> None:
    """Add up the counters and histograms of processes that have exited; delete their gauges."""
    dead = [file for file in directory.glob("*.db") if not _is_running(file)]
    for kind in ("counter", "histogram"):
        of_kind = [file for file in dead if file.name.startswith(f"{kind}_")]
        total = directory / f"{kind}_{EXITED}.db"
        if of_kind:
            _write_sum([*of_kind, *([total] if total.exists() else [])], total)
    for file in dead:
        file.unlink()


def _is_running(file: Path) -> bool:
    pid = int(file.stem.rpartition("_")[2])
    return pid == EXITED or Path(f"/proc/{pid}").exists()


def _write_sum(files: Iterable[Path], total: Path) -> None:
    sums: defaultdict[str, float] = defaultdict(float)
    for file in files:
        if file.stat().st_size:
            for key, value, *_ in MmapedDict.read_all_values_from_file(file):  # type: ignore[no-untyped-call]
                sums[key] += value
    new = total.with_suffix(".new")
    new.unlink(missing_ok=True)
    written = MmapedDict(str(new))  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        written.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    written.close()  # type: ignore[no-untyped-call]
    new.replace(total)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Excludes other readers: between sum and removal they would count a process twice."""
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
