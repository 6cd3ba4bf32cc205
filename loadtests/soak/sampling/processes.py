"""Memory, threads, open files and CPU time of each process of a system, with its children."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

KIB_IN_MIB = 1024


def process_figures(roots: Mapping[str, int]) -> dict[str, float]:
    """Figures of each of these processes by name, from one pass over the machine's processes.

    `private_mib` is memory that no file backs and nobody shares, in which a leak shows. `pss_mib`
    is all memory; what several share is counted in parts.
    """
    figures: dict[str, float] = {}
    for name, family in _families(roots).items():
        sums = dict.fromkeys(
            ("private_mib", "pss_mib", "threads", "open_files", "cpu_seconds"), 0.0
        )
        for one in family:
            for kind, value in _figures(one):
                sums[kind] += value
        figures |= {f"{kind}:{name}": value for kind, value in sums.items()}
        figures[f"processes:{name}"] = len(family)
    return figures


def private_mib(pid: int) -> float:
    """Raises FileNotFoundError or ProcessLookupError: there is no such process."""
    return _memory_mib(pid)["Pss_Anon"]


def _figures(process: psutil.Process) -> Iterator[tuple[str, float]]:
    """None of one that has just ended; its CPU time is its parent's."""
    try:
        with process.oneshot():
            memory = _memory_mib(process.pid)
            yield from (
                ("private_mib", memory["Pss_Anon"]),
                ("pss_mib", memory["Pss"]),
                ("threads", process.num_threads()),
                ("open_files", process.num_fds()),
                ("cpu_seconds", sum(process.cpu_times()[:4])),
            )
    except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
        return


def _memory_mib(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    parts = (line.split() for line in lines)
    return {name.rstrip(":"): int(kib) / KIB_IN_MIB for name, kib, _unit in parts}


def _families(roots: Mapping[str, int]) -> dict[str, list[psutil.Process]]:
    """Each with its children, but for those that are roots too."""
    name_of = {pid: name for name, pid in roots.items()}
    parents = {one.pid: one.info["ppid"] for one in psutil.process_iter(["ppid"])}
    families: dict[str, list[psutil.Process]] = {name: [] for name in roots}
    for pid in parents:
        ancestor: int | None = pid
        while ancestor is not None and ancestor not in name_of:
            ancestor = parents.get(ancestor)
        if ancestor is not None:
            try:
                families[name_of[ancestor]].append(psutil.Process(pid))
            except psutil.NoSuchProcess:
                continue
    return families


def directory_mib(directory: Path, leave_out: frozenset[str]) -> float:
    """The size of its files, without those in these folders; of what vanishes meanwhile, none."""
    size = 0
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name not in leave_out]
        for name in names:
            with suppress(FileNotFoundError):
                size += Path(folder, name).stat().st_size
    return size / KIB_IN_MIB / KIB_IN_MIB
