"""The shapes that a rehearsal can have, as Locust wants them; the rules are in `stages`."""

import math
import time
from collections.abc import Callable
from typing import Any

from locust import LoadTestShape
from locust.runners import STATE_RUNNING

from loadtests.rehearsal.stages import ShapeOptions, Step, on_sale_spike, soak, steady_ramp
from loadtests.users.shopper import Shopper

Tick = tuple[int, float] | tuple[int, float, list[Any] | None]


class _Rehearsed(LoadTestShape):
    """Follows a rule, once the tickets are on sale, and drains when it is over."""

    abstract = True
    use_common_options = True

    # The rule: how many users there shall be now; None when the time is over.
    step: Callable[[float, ShapeOptions], Step | None]

    def reset_time(self) -> None:
        """Locust calls it when a test starts."""
        self._opened_at: float | None = None

    def tick(self) -> Tick | None:
        """Locust asks once a second; None ends the test."""
        assert self.runner is not None
        if self._opened_at is None:
            # The first start of users puts the tickets on sale, and must not be disturbed.
            if self.runner.state != STATE_RUNNING:
                return 0, 1.0
            self._opened_at = time.monotonic()
        options = self._shape_options()
        step = self.step(time.monotonic() - self._opened_at, options)
        if step is None:
            return self._drain(options)
        if step.before_the_opening:
            early = [one for one in self.runner.user_classes if is_early(one)]
            return (step.users, step.per_second, early) if early else (0, 1.0)
        return step.users, step.per_second, self.runner.user_classes

    def _shape_options(self) -> ShapeOptions:
        assert self.runner is not None
        given = self.runner.environment.parsed_options
        assert given is not None
        return ShapeOptions(
            users=given.num_users or 0,
            spawn_rate=given.spawn_rate or 1.0,
            run_seconds=given.run_time or math.inf,
            spike_users=given.spike_users,
            quiet_seconds=given.quiet_seconds,
        )

    def _drain(self, options: ShapeOptions) -> Tick | None:
        """Stop each user as soon as it knows its outcome; then end the test."""
        assert self.runner is not None
        if self.runner.user_count == 0:
            return None
        return 0, max(1.0, float(options.users + options.spike_users))


def is_early(user_class: type[Any]) -> bool:
    """Whether users of this class are there before the sale opens."""
    return issubclass(user_class, Shopper) and not user_class.waits_for_the_opening


class OnSaleSpike(_Rehearsed):
    """`--users` read, then `--spike-users` come at once, until `--run-time` is over."""

    step = staticmethod(on_sale_spike)


class SteadyRamp(_Rehearsed):
    """From none to `--users` over `--run-time`."""

    step = staticmethod(steady_ramp)


class Soak(_Rehearsed):
    """`--users` all along, until `--run-time` is over."""

    step = staticmethod(soak)
