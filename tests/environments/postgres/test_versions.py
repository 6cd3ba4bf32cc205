"""The integration tests on a server of each version; clients, such as `pg_dump`, are the newest."""

import os
import subprocess
import sys

import pytest

from tests.clients.node import MissingPackages
from tests.environments.postgres.servers import VERSIONS, programs_of
from tests.support.orphans import FOLDER_OF_RUN, STARTED_FROM
from tests.support.postgres_version import PROGRAMS, full_version
from tests.support.services import PROJECT

PYTEST = [
    *(sys.executable, "-m", "pytest", "-q", "-rfEs", "--color=no"),
    *("-n", "logical", "--dist", "loadscope", "--no-loadscope-reorder", "tests/integration"),
]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", VERSIONS)
def test_integration_tests_pass_on(version: int, results: dict[str, str]) -> None:
    try:
        programs = programs_of(version)
    except MissingPackages as error:
        pytest.exit(f"make postgres-test cannot run here: {error}.", returncode=2)
    server = f"PostgreSQL {full_version(programs)}"
    sys.stdout.write(f"\n{server}:\n")
    line = ""
    ours = (FOLDER_OF_RUN, STARTED_FROM)
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    with subprocess.Popen(
        PYTEST,
        cwd=PROJECT,
        env=environment | {PROGRAMS: str(programs)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as tests:
        for line in tests.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
        results[server] = line.strip()
    assert tests.returncode == 0, f"{server}: {results[server]}"
