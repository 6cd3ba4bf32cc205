"""The results of a measurement: figures, their spread over the rounds, and the targets. Pure."""

from collections.abc import Sequence
from enum import Enum
from statistics import median

import msgspec


class Bound(Enum):
    AT_LEAST = "at least"
    AT_MOST = "at most"


class Target(msgspec.Struct, frozen=True):
    bound: Bound
    value: float

    def is_met_by(self, value: float) -> bool:
        return value >= self.value if self.bound is Bound.AT_LEAST else value <= self.value


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. `name` ends with the unit; `values` has one for each round."""

    name: str
    label: str
    unit: str
    values: list[float]
    target: Target | None = None
    server_cpu_us_each: float | None = None
    generator_cpu_share: float | None = None

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def meets_target(self) -> bool | None:
        """Whether the median does; None where there is no target."""
        return None if self.target is None else self.target.is_met_by(self.median)


def as_read(value: float) -> str:
    """Three digits at least, and no more after the point than anyone reads."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 10 else f"{value:,.2f}"


def at_least(value: float) -> Target:
    return Target(Bound.AT_LEAST, value)


def at_most(value: float) -> Target:
    return Target(Bound.AT_MOST, value)


def ratios(measured: Sequence[float], base: Sequence[float]) -> list[float]:
    """Ratios round by round: in each, the machine was equally fast for both."""
    return [a / b for a, b in zip(measured, base, strict=True)]


def percent_figure(
    name: str,
    label: str,
    measured: Sequence[float],
    base: Sequence[float],
    target: Target | None = None,
) -> Figure:
    """`measured` in percent of `base`, round by round."""
    values = [100 * ratio for ratio in ratios(measured, base)]
    return Figure(name=name, label=label, unit="%", values=values, target=target)
