"""A sample: figures of one moment, each named `KIND` or `KIND:OF`."""

from collections.abc import Mapping, Sequence

import msgspec

from loadtests.soak.verdict.trends import Point


class Sample(msgspec.Struct, frozen=True):
    """`at`: seconds from the start of the run. `figures`: by name; the unit ends the kind."""

    at: float
    figures: dict[str, float]


def since(began_at: float, samples: Sequence[Sample]) -> list[Sample]:
    """Those from then on, with their moments counted from it."""
    return [
        Sample(round(sample.at - began_at, 1), sample.figures)
        for sample in samples
        if sample.at >= began_at
    ]


def curves(samples: Sequence[Sample]) -> dict[str, list[Point]]:
    """The points of each figure over time."""
    found: dict[str, list[Point]] = {}
    for sample in samples:
        for name, value in sample.figures.items():
            found.setdefault(name, []).append(Point(sample.at, value))
    return found


def curves_of(kind: str, found: Mapping[str, list[Point]]) -> dict[str, list[Point]]:
    """Those of one kind, by what they are of."""
    return {
        name.partition(":")[2]: points
        for name, points in found.items()
        if name.partition(":")[0] == kind
    }
