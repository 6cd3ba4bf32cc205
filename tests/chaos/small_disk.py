"""A disk that is soon full: a file system in memory, which only root may mount."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# An empty database with its log takes 60 MB, a round one or two.
DISK_MEGABYTES = 512
PIECES_BYTES = (1 << 20, 1 << 12)
CAN_MOUNT = os.geteuid() == 0


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


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Mount it until the block ends; where we may not, it is an ordinary folder that never fills.

    Raises:
        CalledProcessError: root may not mount here, as in some containers.
    """
    folder.mkdir()
    if not CAN_MOUNT:
        yield SmallDisk(folder)
        return
    options = f"size={DISK_MEGABYTES}m,mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: a process that still ends there keeps nobody waiting.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
