"""The chart of a benchmark, as a PNG: rates, what was aimed at, latencies."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullFormatter

from loadtests.bench.report.figures import Bound, Figure, as_read
from loadtests.bench.report.results import BenchReport
from loadtests.chart_style import INK, STYLE, TITLE, legend_above

EVENTIFY, OTHERS = "#7c3aed", "#9fb3c8"
MET, MISSED = "#1f9d77", "#d64545"
PERCENTILES = {"p50_ms": "#9fb3c8", "p99_ms": "#2680c2", "p999_ms": "#7c3aed"}
# The names of what is measured are to be read, as numbers need not be.
LABELLED = STYLE | {"ytick.color": INK}


def draw(report: BenchReport, file: Path) -> None:
    # The generator's own rate, several times any other, would only press the others together.
    rates = [f for f in report.figures if f.unit == "/s" and not f.name.startswith("generator_")]
    aims = [figure for figure in report.figures if figure.target is not None]
    heights = [max(len(rates), 2), max(len(aims), 2), 9]
    with mpl.rc_context(LABELLED):
        layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.15, hspace=0.06)
        canvas = Canvas(figsize=(12, 3 + 0.33 * sum(heights)), layout=layout)
        top, middle, bottom = canvas.subplots(3, 1, height_ratios=heights)
        canvas.suptitle(_title(report), fontsize=15, **TITLE)
        _draw_rates(top, rates)
        _draw_targets(middle, aims)
        _draw_latencies(bottom, report)
        canvas.savefig(file)


def _title(report: BenchReport) -> str:
    met = [figure.meets_target for figure in report.figures if figure.target is not None]
    machine = report.machine
    return (
        f"{sum(map(bool, met))} of {len(met)} targets met on {machine.cores} cores"
        f" ({machine.cpu_model})"
    )


def _draw_rates(axes: Axes, rates: Sequence[Figure]) -> None:
    """The median of each as a bar, and from the slowest round to the fastest as a line."""
    medians = [figure.median for figure in rates]
    spread = [
        [median - min(figure.values) for figure, median in zip(rates, medians, strict=True)],
        [max(figure.values) - median for figure, median in zip(rates, medians, strict=True)],
    ]
    colours = [EVENTIFY if _is_ours(figure) else OTHERS for figure in rates]
    places = range(len(rates))
    axes.barh(places, medians, color=colours, xerr=spread, ecolor=INK, height=0.65)
    for place, figure in zip(places, rates, strict=True):
        text = f"  {figure.median:,.0f}"
        axes.annotate(text, (max(figure.values), place), va="center", fontsize=10)
    axes.set_xlabel("per second (bar: median; line: slowest to fastest round)")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(0, 1.1 * max((value for f in rates for value in f.values), default=1.0))
    _name_bars(axes, rates)


def _is_ours(figure: Figure) -> bool:
    return not figure.name.startswith(("bare_", "straightforward_", "generator_", "drain_sql"))


def _draw_targets(axes: Axes, aims: Sequence[Figure]) -> None:
    shares = [_share_of_target(figure) for figure in aims]
    colours = [MET if figure.meets_target else MISSED for figure in aims]
    axes.barh(range(len(aims)), shares, color=colours, height=0.65)
    for place, (figure, share) in enumerate(zip(aims, shares, strict=True)):
        assert figure.target is not None
        sign = "≥" if figure.target.bound is Bound.AT_LEAST else "≤"
        text = f"  {as_read(figure.median)} {figure.unit} ({sign} {figure.target.value:,g})"
        axes.annotate(text, (share, place), va="center", fontsize=10)
    axes.axvline(1, color=INK, linewidth=1.2)
    axes.set_xlim(0, 1.3 * max([1.0, *shares]))
    axes.set_xlabel("share of the target (1 is met; for limits the other way round)")
    _name_bars(axes, aims)


def _share_of_target(figure: Figure) -> float:
    assert figure.target is not None, "only figures with a target are drawn here"
    if figure.target.bound is Bound.AT_LEAST:
        return figure.median / figure.target.value
    return figure.target.value / figure.median


def _draw_latencies(axes: Axes, report: BenchReport) -> None:
    """For each rate two groups of bars, to the 202 and to the decision, on a logarithmic scale."""
    groups = [
        (rate, until)
        for rate in report.sizes.latency_rates_per_second
        for until in ("accepted", "decided")
        if report.figure(f"latency_at_{rate}_per_second_until_{until}_p50_ms") is not None
    ]
    if not groups:
        axes.set_axis_off()  # not measured this time
        return
    for number, (field, colour) in enumerate(PERCENTILES.items()):
        found = [
            report.figure(f"latency_at_{rate}_per_second_until_{until}_{field}")
            for rate, until in groups
        ]
        heights = [figure.median if figure is not None else 0.0 for figure in found]
        places = [place + 0.27 * (number - 1) for place in range(len(groups))]
        label = field.replace("p999", "p99.9").replace("_ms", "")
        axes.bar(places, heights, width=0.25, color=colour, label=label)
        for place, height in zip(places, heights, strict=True):
            axes.annotate(as_read(height), (place, height), ha="center", va="bottom", fontsize=9)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=1)
    axes.set_xticks(range(len(groups)), [f"{rate:,}/s\nto {until}" for rate, until in groups])
    axes.set_ylabel("milliseconds")
    axes.grid(axis="y", linewidth=0.8)
    legend_above(axes, columns=len(PERCENTILES))


def _name_bars(axes: Axes, figures: Sequence[Figure]) -> None:
    axes.set_yticks(range(len(figures)), [figure.label for figure in figures])
    axes.set_ylim(len(figures) - 0.4, -0.6)
    axes.grid(axis="x", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
