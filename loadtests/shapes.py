"""How many users are there when: the shapes that a rehearsal can have.

Each is a pure rule over the seconds since the opening of the test, and ends with a drain: nobody
comes any more, and everybody stays until the outcome of the purchase is heard.
"""

import math
import time
from typing import Any, NamedTuple

from locust import LoadTestShape
from locust.runners import STATE_RUNNING

from loadtests.users.shopper import Shopper

# In which all of a spike come. Locust starts them in two lots, one second apart, and each arrives
# within a second of its own (`schedule`).
SPIKE_SECONDS = 2

Tick = tuple[int, float] | tuple[int, float, list[Any] | None]


class Plan(NamedTuple):
    """What the operator asked for; `run_seconds` may be infinite."""

    users: int
    spawn_rate: float
    run_seconds: float
    spike_users: int
    quiet_seconds: float


class Step(NamedTuple):
    """How many users there shall be, and how many of the missing come each second."""

    users: int
    per_second: float
    before_the_opening: bool = False


def on_sale_spike(at: float, plan: Plan) -> Step | None:
    """Quiet with `users`, who only look; then `spike_users` more, all within two seconds."""
    if at >= plan.run_seconds:
        return None
    if at < plan.quiet_seconds:
        return Step(plan.users, plan.spawn_rate, before_the_opening=True)
    return Step(plan.users + plan.spike_users, max(1.0, plan.spike_users / SPIKE_SECONDS))


def steady_ramp(at: float, plan: Plan) -> Step | None:
    """From nobody to `users`, evenly over the whole time: where does it begin to hurt?"""
    if at >= plan.run_seconds:
        return None
    if math.isinf(plan.run_seconds):
        return Step(plan.users, plan.spawn_rate)
    return Step(plan.users, max(plan.users, 1) / plan.run_seconds)


def soak(at: float, plan: Plan) -> Step | None:
    """The same `users` for hours: what grows, leaks or slows down?"""
    return None if at >= plan.run_seconds else Step(plan.users, plan.spawn_rate)


class _Rehearsed(LoadTestShape):
    """Follows a rule, once the tickets are on sale, and drains when it is over."""

    abstract = True
    use_common_options = True

    def step(self, at: float, plan: Plan) -> Step | None:
        """The rule: how many users there shall be now; None when the time is over."""
        raise NotImplementedError

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
        plan = self._plan()
        step = self.step(time.monotonic() - self._opened_at, plan)
        if step is None:
            return self._drain(plan)
        if step.before_the_opening:
            early = [one for one in self.runner.user_classes if is_early(one)]
            return (step.users, step.per_second, early) if early else (0, 1.0)
        return step.users, step.per_second, self.runner.user_classes

    def _plan(self) -> Plan:
        assert self.runner is not None
        options = self.runner.environment.parsed_options
        assert options is not None
        return Plan(
            users=options.num_users or 0,
            spawn_rate=options.spawn_rate or 1.0,
            run_seconds=options.run_time or math.inf,
            spike_users=options.spike_users,
            quiet_seconds=options.quiet_seconds,
        )

    def _drain(self, plan: Plan) -> Tick | None:
        """Let everybody go at once, as soon as each knows its outcome; then end the test."""
        assert self.runner is not None
        if self.runner.user_count == 0:
            return None
        return 0, max(1.0, float(plan.users + plan.spike_users))


def is_early(user_class: type[Any]) -> bool:
    """Whether users of this class are there before the sale opens."""
    return issubclass(user_class, Shopper) and not user_class.waits_for_the_opening


class OnSaleSpike(_Rehearsed):
    """`--users` look, then `--spike-users` come at once, until `--run-time` is over."""

    def step(self, at: float, plan: Plan) -> Step | None:
        return on_sale_spike(at, plan)


class SteadyRamp(_Rehearsed):
    """From nobody to `--users` over `--run-time`."""

    def step(self, at: float, plan: Plan) -> Step | None:
        return steady_ramp(at, plan)


class Soak(_Rehearsed):
    """`--users` all along, until `--run-time` is over."""

    def step(self, at: float, plan: Plan) -> Step | None:
        return soak(at, plan)
