"""EVENTIFY_HOME: the folder of one running system, its lock, and the record of what runs there."""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.errors import ConfigurationError

DEFAULT_HOME = ".eventify"
# Asking whether the lock is held takes it for a moment; whoever wants to keep it tries this long.
LOCK_PATIENCE_SECONDS = 0.3


class AlreadyRunningError(ConfigurationError):
    """Another `eventify up` holds this home."""


@dataclass(frozen=True, slots=True)
class Home:
    """The places in EVENTIFY_HOME; `path` is absolute and without symbolic links."""

    path: Path

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def valkey(self) -> Path:
        return self.path / "valkey"

    @property
    def supervisor_config(self) -> Path:
        return self.path / "supervisord.conf"

    @property
    def state_file(self) -> Path:
        return self.path / "state.json"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"


@dataclass(frozen=True, slots=True)
class RunningState:
    """What is known of a running system. `environment`: the EVENTIFY_* variables of its services,
    secrets among them."""

    gateway_url: str
    catalog_url: str
    supervisor_pid: int
    supervisor_socket: str
    environment: Mapping[str, str]

    @property
    def database_url(self) -> str:
        return self.environment["EVENTIFY_DATABASE_URL"]

    @property
    def redis_url(self) -> str:
        return self.environment["EVENTIFY_REDIS_URL"]


def find_home() -> Home:
    """EVENTIFY_HOME, or `.eventify` in the current folder."""
    return Home(Path(os.environ.get("EVENTIFY_HOME") or DEFAULT_HOME).resolve())


def make_home(home: Home) -> None:
    """Make the folder where it is missing, for the caller alone.

    Raises:
        ConfigurationError: it cannot be made or written.
    """
    if not str(home.path).isprintable():  # configuration files are made of lines
        raise ConfigurationError(
            f"EVENTIFY_HOME must not contain control characters: {home.path!r}."
        )
    try:
        home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (home.logs, home.keys):
            folder.mkdir(exist_ok=True, mode=0o700)
        os.close(os.open(home.lock_file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise ConfigurationError(f"Cannot write to {home.path}: {error.strerror}.") from error


def make_private(home: Home) -> None:
    """Take away what former versions let others read; only for the holder of the lock.

    Raises:
        ConfigurationError: the folder is another user's.
    """
    try:
        mode = home.path.stat().st_mode
        if mode & 0o007:
            home.path.chmod(mode & 0o770)
        for folder in (home.logs, home.keys, home.metrics, home.valkey):
            if folder.exists() and folder.stat().st_mode & 0o077:
                folder.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot keep other users out of {home.path}: {error.strerror}."
        ) from error


def lock_home(home: Home) -> int:
    """Take the home for one system, and return the descriptor that holds it.

    The lock lasts as long as any process has this descriptor open: the supervisor inherits it, so
    the kernel itself says whether one lives, and nobody has to trust a number in a file.

    Raises:
        AlreadyRunningError: another system holds it, named by its URL.
    """
    deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
    while (lock := _try_lock(home)) is None:
        if time.monotonic() > deadline:
            state = read_state(home)
            at = f" at {state.gateway_url}" if state else ""
            raise AlreadyRunningError(f"Eventify already runs{at} with its data in {home.path}.")
        time.sleep(0.02)
    return lock


def is_locked(home: Home) -> bool:
    """Whether a system runs, starts or stops in this home now."""
    if not home.lock_file.exists():
        return False
    lock = _try_lock(home)
    if lock is None:
        return True
    os.close(lock)
    return False


def running_state(home: Home) -> RunningState | None:
    """The record of the system that runs in this home; None when none does."""
    return read_state(home) if is_locked(home) else None


def read_state(home: Home) -> RunningState | None:
    """The record as it was last written; None when there is none that can be read."""
    try:
        return RunningState(**json.loads(home.state_file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def write_state(home: Home, state: RunningState) -> None:
    """Replace the record at one stroke, readable by its owner alone."""
    new = home.state_file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(state), file, indent=2)
    new.rename(home.state_file)


def _try_lock(home: Home) -> int | None:
    try:
        lock = os.open(home.lock_file, os.O_RDWR)
    except OSError as error:
        raise ConfigurationError(f"Cannot write to {home.path}: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
