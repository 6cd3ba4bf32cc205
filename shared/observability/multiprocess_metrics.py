"""Tells what several processes of one machine counted as if they were one (docs/decisions/0014).

Where PROMETHEUS_MULTIPROC_DIR names a folder, prometheus-client counts in files there, a few for
each process. What a process counted stays when it dies, however it dies; what it only held just
then, such as clients that wait, goes with it. All processes of a folder must see each other's ids:
so each container has its own.
"""

import asyncio
import fcntl
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from prometheus_client import REGISTRY, CollectorRegistry, Metric, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from shared.concurrency.single_flight import SingleFlight

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# What stands in a file's name for all processes that have died: no process has this id.
THE_DEAD = 0


def metrics_of_all() -> Collector:
    """What is told: of all processes of the folder, or else of this one.

    Raises:
        ValueError: the folder does not exist.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return REGISTRY
    registry = CollectorRegistry()
    registry.register(FolderCollector(Path(folder)))
    return registry


def shared_scrape(metrics: Collector) -> SingleFlight[bytes]:
    """The text of all figures; reading the files of many processes takes milliseconds of a core.

    However often it is asked for, that is done five times a second, which is below a tenth of it.
    """

    async def scrape() -> bytes:
        return await asyncio.to_thread(generate_latest, metrics)

    return SingleFlight(scrape, burst=20, per_second=5.0)


class FolderCollector(MultiProcessCollector):
    """Reads the files of a folder, and adds those of the dead up so that they do not pile up."""

    def __init__(self, folder: Path) -> None:
        super().__init__(None, str(folder))  # type: ignore[no-untyped-call]
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        with _alone_in(self._folder):
            compact_dead_processes(self._folder)
            # A process that has just begun has made its file and not yet its first entry.
            files = [file for file in self._folder.glob("*.db") if file.stat().st_size]
            found = list(self.merge(map(str, files)))  # type: ignore[no-untyped-call]
        yield from found


def compact_dead_processes(folder: Path) -> None:
    """Add up what processes counted that are no more, and forget what they held."""
    dead = [file for file in folder.glob("*.db") if not _lives(file)]
    for kind in ("counter", "histogram"):
        of_kind = [file for file in dead if file.name.startswith(f"{kind}_")]
        total = folder / f"{kind}_{THE_DEAD}.db"
        if of_kind:
            _write_sum([*of_kind, *([total] if total.exists() else [])], total)
    for file in dead:
        file.unlink()


def _lives(file: Path) -> bool:
    pid = int(file.stem.rpartition("_")[2])
    return pid == THE_DEAD or psutil.pid_exists(pid)


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
def _alone_in(folder: Path) -> Iterator[None]:
    """Nobody else reads meanwhile: between sum and removal the dead would count twice."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
