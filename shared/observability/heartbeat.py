"""A process tells again and again, in a file of its own, that it lives; who has to know reads it.

Each process holds a lock on its file. So a file without a lock tells of a process that is gone, and
several processes may share a folder. Times are of the monotonic clock, which nobody sets and which
all processes of a machine share.

The reader is a new process every few seconds: nothing but the standard library is imported here.
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


def heartbeat_folder(setting: str) -> Path:
    """What EVENTIFY_HEARTBEAT_DIR means; empty, a folder of this user's for temporary files."""
    temporary = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    return Path(setting or f"{temporary}/eventify-{os.getuid()}")


class Heartbeat:
    """What this process tells of itself.

    Args:
        setting: EVENTIFY_HEARTBEAT_DIR, the folder of its file; made if it is missing.
        role: "worker" or "sweeper".

    Raises:
        ConfigurationError: the folder cannot be written, or is not this user's alone.
    """

    def __init__(self, setting: str, role: str) -> None:
        folder = heartbeat_folder(setting)
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
        """Tell that all is well, or what is not, and for how long that may be believed."""
        now = time.monotonic()
        told = f"{now:.3f} {now + good_for_seconds:.3f} {problem}"
        os.pwrite(self._file, told.encode()[: BEAT_BYTES - 1].ljust(BEAT_BYTES - 1) + b"\n", 0)

    def close(self) -> None:
        """This process ends in good order."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


class Beat(NamedTuple):
    """The last beat of a process that exists; times are of the monotonic clock, in seconds."""

    process: str
    beat_at: float
    good_until: float
    problem: str


def last_beats(folder: Path, role: str) -> Iterator[Beat]:
    """Of every process of that role which exists and has told something.

    Raises:
        OSError: the folder cannot be read, or is not this user's alone.
    """
    if os.path.lexists(folder):
        _check_own(folder)
    for path in sorted(folder.glob(f"{role}-*")):
        with path.open("rb") as file:
            told = "" if _is_abandoned(file.fileno()) else file.read().decode()
        if told:
            beat_at, good_until, problem = told.split(" ", 2)
            yield Beat(path.name, float(beat_at), float(good_until), problem.strip())


def _check_own(folder: Path) -> None:
    """Others could report in our name; in /tmp, anybody may make a folder of this name first.

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
