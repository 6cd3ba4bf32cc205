"""What passed on each version, as the last lines of the run."""

import pytest

RESULTS = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS] = {}


@pytest.fixture
def results(pytestconfig: pytest.Config) -> dict[str, str]:
    """For each server that was tested, the last line of pytest."""
    return pytestconfig.stash[RESULTS]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for server, result in config.stash[RESULTS].items():
        terminalreporter.write_line(f"{server}: {result}")
