"""Restarts are counted, and the pauses between tries stay short."""

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from supervisor import events
from supervisor.process import Subprocess
from supervisor.states import ProcessStates

from deploy.local.supervisor.restarts import LONGEST_PAUSE_SECONDS, Restarts


@pytest.fixture
def restarts() -> Iterator[Restarts]:
    events.clear()
    yield Restarts()
    events.clear()


def test_the_first_start_is_no_restart(restarts: Restarts) -> None:
    program = Subprocess(SimpleNamespace(name="gateway-1"))

    program.change_state(ProcessStates.STARTING)
    assert restarts.counts() == {"gateway-1": 0}

    program.change_state(ProcessStates.EXITED)
    program.change_state(ProcessStates.STARTING)
    assert restarts.counts() == {"gateway-1": 1}


def test_a_program_that_never_stays_up_is_tried_for_ever_at_short_intervals(
    restarts: Restarts,
) -> None:
    program = Subprocess(SimpleNamespace(name="worker-1"))
    for _ in range(50):
        program.change_state(ProcessStates.STARTING)
        program.change_state(ProcessStates.BACKOFF)

    assert restarts.counts() == {"worker-1": 49}
    # supervisord gives up when `backoff` exceeds a limit, and tries again at `delay`.
    assert program.backoff == LONGEST_PAUSE_SECONDS
    assert program.delay <= time.time() + LONGEST_PAUSE_SECONDS
