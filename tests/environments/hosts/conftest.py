"""One system of hosts for each file of tests, and the round that each fault has to survive."""

import random
import signal
from collections.abc import Iterator

import pytest

from tests.environments.hosts.network import missing
from tests.environments.hosts.system import SystemOfHosts, a_system_of_hosts


@pytest.fixture(scope="module")
def settings_of_services() -> dict[str, str]:
    """More settings, as environment variables; a file of tests may have its own."""
    return {}


@pytest.fixture(scope="module")
def system(settings_of_services: dict[str, str]) -> Iterator[SystemOfHosts]:
    lacking = missing()
    if lacking:
        pytest.exit(f"Hosts made of network namespaces need {lacking}.", returncode=2)
    # Whoever asks us to stop finds nothing left running, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with a_system_of_hosts(**settings_of_services) as system:
        yield system


@pytest.fixture
def chance() -> random.Random:
    """The same buyers every time, as far as chance decides."""
    return random.Random(7)
