"""Which PostgreSQL the tests' servers are: the wheel's, or an older one of `make postgres-test`.

Clients, such as `pg_dump`, are always the wheel's.
"""

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

from deploy.local.servers.wheels import postgres_programs

# The folder of `initdb` and `postgres`.
PROGRAMS = "TESTS_POSTGRES_PROGRAMS"
OLDER_CLIENTS = Path(__file__).parent / "older_clients"


def server_programs() -> Path:
    return Path(os.environ.get(PROGRAMS) or postgres_programs())


@cache
def full_version(programs: Path) -> str:
    """As `14.23`."""
    printed = subprocess.check_output([programs / "postgres", "--version"], text=True)
    return printed.split()[2]


def postgres_version() -> int:
    """As `14`."""
    return int(full_version(server_programs()).split(".")[0])


def path_of_clients() -> str:
    """Of PostgreSQL's clients, as one has them who runs this server; the first part of a PATH."""
    older = [OLDER_CLIENTS] if postgres_version() < 17 else []
    return os.pathsep.join(map(str, (*older, postgres_programs())))


def needs_postgres(version: int, what: str) -> pytest.MarkDecorator:
    """Skips a test of what an older server does not have."""
    return pytest.mark.skipif(
        postgres_version() < version, reason=f"PostgreSQL {version} brought {what}"
    )
