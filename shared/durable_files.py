"""Writes small files so that a power cut leaves all of a file or none of it."""

import errno
import os
from pathlib import Path


def write_durably(
    file: Path, content: bytes, *, mode: int, owner: tuple[int, int] | None = None
) -> None:
    """Replace a file atomically; when this returns, it is on the disk.

    Args:
        file: one that no other process writes at the same time.
        content: all of it.
        mode: its permissions, as far as the umask allows them.
        owner: the ids of its user and group, if not the caller's.
    """
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
        if owner is not None:
            os.fchown(opened.fileno(), *owner)
        opened.write(content)
        opened.flush()
        # Else the rename may be on the disk before the content, and the file be empty.
        os.fsync(opened.fileno())
    new.rename(file)
    sync_directory(file.parent)


def sync_directory(directory: Path) -> None:
    """Wait until what was renamed in it is on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot; PostgreSQL ignores these two as well.
        if error.errno not in (errno.EBADF, errno.EINVAL):
            raise
    finally:
        os.close(descriptor)
