"""The abuses that once did the most harm, for a moment each, while ten buyers buy."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Timer

import pytest

from tests.abuse import attacks
from tests.abuse.attacks import ABUSES, Abuse
from tests.abuse.measure import HEAD_START_SECONDS, Limits, Measurement, measuring
from tests.abuse.scene import Scene, a_scene
from tests.abuse.wire import Target

SECONDS, QUIET_SECONDS = 1.0, 0.7
# Other tests have the cores, too: what stands still for longer is none of their doing.
LIMITS = Limits(p99_floor_ms=500)
WORST = (
    *("upgrade", "crafted-password", "combining-marks", "long-path", "capacity-of-others"),
    *("unread-lists", "spent-refresh", "readyz"),
)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    # A machine that is busy with other tests may need longer than a client should wait.
    with a_scene(EVENTIFY_ANSWER_TIMEOUT_SECONDS="10") as scene:
        yield scene


@pytest.fixture(scope="module")
def measurement(scene: Scene) -> Iterator[Measurement]:
    with measuring(scene, SECONDS, LIMITS, QUIET_SECONDS) as measurement:
        yield measurement
        assert measurement.errors() == []


@contextmanager
def no_decisions_for_a_second(scene: Scene) -> Iterator[Target]:
    with ExitStack() as deciding_again:
        deciding_again.enter_context(scene.shop.decisions_suspended())
        timer = Timer(HEAD_START_SECONDS + 1, deciding_again.close)
        timer.start()
        yield scene.target
        timer.join()


def test_a_disturbance_is_seen(measurement: Measurement) -> None:
    result = measurement.measure(Abuse(attacks.idle, no_decisions_for_a_second), tries=1)
    assert result.abused.p99_ms > LIMITS.p99_floor_ms
    assert any(problem.startswith("p99 ") for problem in result.problems), result.problems


@pytest.mark.parametrize("name", WORST)
def test_a_stranger_does_no_harm_to_others(measurement: Measurement, name: str) -> None:
    result = measurement.measure(ABUSES[name])
    assert result.problems == [], result
