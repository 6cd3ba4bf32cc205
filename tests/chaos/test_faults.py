"""One round: a process is killed at the worst moment, and every promise holds.

`make test-deep` has more rounds, `make chaos` as many as are wanted.
"""

import pytest

from tests.chaos.catalogue import IN_TEST
from tests.chaos.conftest import survives
from tests.chaos.system import System


@pytest.mark.timeout(300)
def test_a_process_that_is_killed_breaks_no_promise(system: System) -> None:
    survives(system, IN_TEST)
