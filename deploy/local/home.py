"""EVENTIFY_HOME: the directory of one system, its lock, and the record of its processes."""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.durable_files import write_durably
from shared.errors import ConfigurationError

DEFAULT_HOME = ".eventify"
# `is_locked` takes the lock for a moment, so that a start retries for this long.
LOCK_RETRY_SECONDS = 0.3


class AlreadyRunningError(ConfigurationError):
    """Another `eventify up` holds this home."""


class Home:
    """The files in EVENTIFY_HOME; `path` is absolute and without symbolic links."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.keys = path / "keys"
        self.metrics = path / "metrics"
        self.postgres = path / "postgres"
        self.valkey = path / "valkey"
        self.supervisor_config = path / "supervisord.conf"
        self.state_file = path / "state.json"
        self.lock_file = path / "lock"


@dataclass(frozen=True, slots=True)
class RunningState:
    """`environment`: the EVENTIFY_* variables of the services, secrets among them."""

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
    """EVENTIFY_HOME, or `.eventify` in the working directory."""
    return Home(Path(os.environ.get("EVENTIFY_HOME") or DEFAULT_HOME).resolve())


def make_home(home: Home) -> None:
    """Make the directory where it is missing, with access for its owner only.

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
    """Remove the read permissions that older versions left; only with the lock.

    Raises:
        ConfigurationError: the directory belongs to another user.
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
    """Lock the home for one system, and return the descriptor of the lock.

    The lock lasts as long as any process has this descriptor open. The supervisor inherits it, so
    the lock shows whether one is running, without trust in a pid file.

    Raises:
        AlreadyRunningError: another system holds it, named by its URL.
    """
    deadline = time.monotonic() + LOCK_RETRY_SECONDS
    while (lock := _try_lock(home)) is None:
        if time.monotonic() > deadline:
            state = read_state(home)
            at = f" at {state.gateway_url}" if state else ""
            raise AlreadyRunningError(
                f"Eventify already runs{at} with its data in {home.path}. To start it with other"
                " settings or options, run `eventify down` first."
            )
        time.sleep(0.02)
    return lock


def was_started(home: Home) -> bool:
    """Whether a system ever was in this home.

    Raises:
        ConfigurationError: this user may not see it.
    """
    try:
        home.lock_file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _cannot_open(home, error) from error
    return True


def is_locked(home: Home) -> bool:
    """Whether a system is running, starting or stopping.

    Raises:
        ConfigurationError: this user may not see it.
    """
    if not was_started(home):
        return False
    lock = _try_lock(home)
    if lock is None:
        return True
    os.close(lock)
    return False


def running_state(home: Home) -> RunningState | None:
    """The record of the running system, if there is one."""
    return read_state(home) if is_locked(home) else None


def read_state(home: Home) -> RunningState | None:
    """The last record, if there is one that can be read.

    Raises:
        ConfigurationError: it is another user's.
    """
    try:
        return RunningState(**json.loads(home.state_file.read_bytes()))
    except PermissionError as error:
        raise _cannot_open(home, error) from error
    except (OSError, ValueError, TypeError):
        return None


def write_state(home: Home, state: RunningState) -> None:
    """Replace the record atomically; only its owner can read it."""
    content = json.dumps(asdict(state), indent=2)
    write_durably(home.state_file, content.encode(), mode=0o600)


def _try_lock(home: Home) -> int | None:
    try:
        lock = os.open(home.lock_file, os.O_RDWR)
    except OSError as error:
        raise _cannot_open(home, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _cannot_open(home: Home, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"Cannot open {home.path}: {error.strerror}.")
