"""Whether a curve grows without bound: two rules over its points. Pure.

What must stay flat is judged by its trend over the second half of the run, when everything that
fills once is full. What grows with every sale is judged by how much each sale adds: no more in the
second half than before. Both need to see a rise of some size, so that noise is no verdict.
"""

from collections.abc import Sequence
from statistics import median

import msgspec

DAY_SECONDS = 86_400.0
# Of the run: what fills once, such as a cache, fills here.
WARM_UP = 1 / 8
# Of what a unit adds: pages, checkpoints and other work of the machine come in lumps.
MORE_EACH_MAX = 1.35
# Trends of more points take longer, and say the same.
POINTS_MAX = 300


class Point(msgspec.Struct, frozen=True):
    """`at`: seconds from the start of the run."""

    at: float
    value: float


class Flat(msgspec.Struct, frozen=True):
    """What must not grow: by no more than `a_day`, or by too little to be seen in this run.

    Attributes:
        a_day: the most that a trend may add in a day.
        seen_from: a smaller rise in the second half of the run is noise.
    """

    a_day: float
    seen_from: float


class Proportional(msgspec.Struct, frozen=True):
    """What each unit adds to; `seen_from`: what it may add in all beyond that."""

    seen_from: float


class Verdict(msgspec.Struct, frozen=True):
    """`sentence`: what grows and by how much; or what was found instead."""

    curve: str
    grows: bool
    sentence: str


def judge_flat(name: str, unit: str, points: Sequence[Point], rule: Flat) -> Verdict:
    """By the median slope between all pairs of points (Theil-Sen): no single point decides it.

    What rises again and again and falls back, as a table between its vacuums, has such a slope too.
    So its last third must also be as much above its first one.
    """
    late = second_half(points)
    third = len(late) // 3
    if third < 1:
        return Verdict(name, False, f"{name}: too few samples for a verdict")
    slope = trend(late)
    seconds = late[-1].at - late[0].at
    rise, a_day = slope * seconds, slope * DAY_SECONDS
    level = f"{_read(_level(late))} {unit}"
    # From the middle of a third to that of another.
    risen = 3 / 2 * (_level(late[-third:]) - _level(late[:third]))
    if min(rise, risen) > rule.seen_from and a_day > rule.a_day:
        return Verdict(
            name,
            True,
            f"{name} grows by {_read(a_day)} {unit} a day: by {_read(rise)} {unit} in the last"
            f" {seconds / 60:.1f} minutes, to {_read(late[-1].value)} {unit}",
        )
    return Verdict(name, False, f"{name}: {level}, flat")


def judge_proportional(
    name: str, unit: str, points: Sequence[Point], units: Sequence[Point], rule: Proportional
) -> Verdict:
    """By what a unit adds in the second half, against what it added before.

    Args:
        units: how many units there were, at the same moments as `points`.
    """
    first, last = _between(points, WARM_UP, 0.5), _between(points, 0.5, 1.0)
    counted_first, counted_last = _between(units, WARM_UP, 0.5), _between(units, 0.5, 1.0)
    added_units = _rise(counted_first), _rise(counted_last)
    if min(added_units) <= 0:
        return Verdict(name, False, f"{name}: too few samples for a verdict")
    before, after = _rise(first) / added_units[0], _rise(last) / added_units[1]
    beyond = _rise(last) - max(0.0, before) * added_units[1]
    each = 1_000 * after
    if after > MORE_EACH_MAX * before and beyond > rule.seen_from:
        return Verdict(
            name,
            True,
            f"{name} grows faster than the sales: {_read(each)} {unit} for each thousand entries in"
            f" the second half of the run, {_read(1_000 * before)} before",
        )
    return Verdict(name, False, f"{name}: {_read(each)} {unit} for each thousand entries")


def judge_quarters(
    name: str, unit: str, points: Sequence[Point], times_max: float, seen_from: float
) -> Verdict:
    """What may not get slower: the median of the last quarter against that of the first.

    Args:
        times_max: how many times the first quarter the last one may be.
        seen_from: a smaller difference is noise.
    """
    quarter = len(points) // 4
    if quarter < 1:
        return Verdict(name, False, f"{name}: too few samples for a verdict")
    first, last = _level(points[:quarter]), _level(points[-quarter:])
    text = f"{_read(first)} {unit} in the first quarter, {_read(last)} {unit} in the last"
    grows = last > times_max * first and last - first > seen_from
    return Verdict(name, grows, f"{name} grows: {text}" if grows else f"{name}: {text}")


def second_half(points: Sequence[Point]) -> list[Point]:
    return _between(points, 0.5, 1.0)


def trend(points: Sequence[Point]) -> float:
    """The Theil-Sen slope, in a second."""
    some = points[:: 1 + len(points) // POINTS_MAX]
    return median(
        (later.value - earlier.value) / (later.at - earlier.at)
        for number, earlier in enumerate(some)
        for later in some[number + 1 :]
    )


def _between(points: Sequence[Point], since: float, until: float) -> list[Point]:
    """Those within these shares of the run's time."""
    if not points:
        return []
    began, seconds = points[0].at, points[-1].at - points[0].at
    return [p for p in points if since <= (p.at - began) / (seconds or 1.0) <= until]


def _level(points: Sequence[Point]) -> float:
    return median(point.value for point in points)


def _rise(points: Sequence[Point]) -> float:
    return points[-1].value - points[0].value if points else 0.0


def _read(value: float) -> str:
    """As many digits as anyone reads."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"
