"""Heartbeats: each process updates a file of its own, which health checks read.

Each process holds a lock on its file: a file without a lock belongs to a process that has exited.
Times are of the monotonic clock, which all processes of a machine share.

The reader is a new process every few seconds: only the standard library is imported here.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from shared.errors import ConfigurationError

# Every beat overwrites the one before, so it has to be as long.
BEAT_BYTES = 200


def heartbeat_directory(setting: str) -> Path:
    """EVENTIFY_HEARTBEAT_DIR, or by default a directory of this user's for temporary files."""
    temporary = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    return Path(setting or f"{temporary}/eventify-{os.getuid()}")


class Heartbeat:
    """The heartbeat of this process.

    Args:
        setting: EVENTIFY_HEARTBEAT_DIR, the directory of its file; created if missing.
        role: "worker", "sweeper" or "sender".

    Raises:
        ConfigurationError: the directory is not writable, or not this user's alone.
    """

    def __init__(self, setting: str, role: str) -> None:
        folder = heartbeat_directory(setting)
        self._path = folder / f"{role}-{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _check_own(folder)
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"Cannot write to EVENTIFY_HEARTBEAT_DIR {folder}: {error.strerror}."
            ) from error
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def beat(self, good_for_seconds: float, problem: str = "") -> None:
        """Write that the process is healthy, or its problem, and for how long that is valid."""
        now = time.monotonic()
        beat = f"{now:.3f} {now + good_for_seconds:.3f} {problem}"
        os.pwrite(self._file, beat.encode()[: BEAT_BYTES - 1].ljust(BEAT_BYTES - 1) + b"\n", 0)

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._file)


class Beat(NamedTuple):
    """The last beat of a process that exists; times are of the monotonic clock, in seconds."""

    process: str
    beat_at: float
    good_until: float
    problem: str


def last_beats(folder: Path, role: str) -> Iterator[Beat]:
    """The last beat of every running process of that role.

    Raises:
        OSError: the directory cannot be read, or is not this user's alone.
    """
    if os.path.lexists(folder):
        _check_own(folder)
    for path in sorted(folder.glob(f"{role}-*")):
        with path.open("rb") as file:
            text = "" if _is_abandoned(file.fileno()) else file.read().decode()
        if text:
            beat_at, good_until, problem = text.split(" ", 2)
            yield Beat(path.name, float(beat_at), float(good_until), problem.strip())


def _check_own(folder: Path) -> None:
    """Others could write heartbeats for us: anyone can create such a directory in /tmp.

    Raises:
        PermissionError: it is a symbolic link, another user's, or others may write to it.
    """
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        reason = "it is not a directory"
    elif found.st_uid != os.geteuid():
        reason = f"it belongs to the user {found.st_uid}"
    elif found.st_mode & 0o022:
        reason = "other users may write to it"
    else:
        return
    raise PermissionError(errno.EPERM, reason)


def _is_abandoned(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
