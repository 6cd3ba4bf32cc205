"""A disk that is soon full: a file system in memory, where one may be mounted."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

# An empty database with its log takes 60 MB, a round one or two.
DISK_MEGABYTES = 512
PIECES_BYTES = (1 << 20, 1 << 12)
MOUNTS = Path("/proc/self/mounts")
# A mount's source says whose it is: `eventify-test-PID`.
OURS = "eventify-test-"


class SmallDisk:
    """What is mounted at `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Take all that is free, to the last page, while others write too."""
        with self._ballast.open("wb", buffering=0) as ballast:
            for piece_bytes in PIECES_BYTES:
                with suppress(OSError):
                    while ballast.write(bytes(piece_bytes)) == piece_bytes:
                        pass

    def relieve(self) -> None:
        self._ballast.unlink(missing_ok=True)


@cache
def can_mount() -> bool:
    """Whether we may; root in a container often may not, which only a try shows."""
    if os.geteuid() != 0 or not MOUNTS.exists():
        return False
    with TemporaryDirectory(prefix="eventify-test-") as folder:
        try:
            _mount(Path(folder))
        except (OSError, subprocess.CalledProcessError):
            return False
        _unmount(Path(folder))
    return True


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Mount it until the block ends; where we may not, it is a folder that never fills."""
    folder.mkdir()
    if not can_mount():
        yield SmallDisk(folder)
        return
    _unmount_leftovers()
    _mount(folder)
    try:
        yield SmallDisk(folder)
    finally:
        _unmount(folder)


def _mount(folder: Path) -> None:
    options = f"size={DISK_MEGABYTES}m,mode=0755"
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, f"{OURS}{os.getpid()}", str(folder)],
        check=True,
        capture_output=True,
    )


def _unmount(folder: Path) -> None:
    # Lazily: a process that still ends there does not block this.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _unmount_leftovers() -> None:
    """What earlier runs left that were killed."""
    for line in MOUNTS.read_text().splitlines():
        source, folder, *_ = line.split()
        if source.startswith(OURS) and not psutil.pid_exists(int(source.removeprefix(OURS))):
            with suppress(subprocess.CalledProcessError):  # another run is quicker
                _unmount(Path(folder))
