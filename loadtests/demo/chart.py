"""The chart of a sale over time, as a PNG."""

from collections import Counter
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from loadtests.chart_style import GRID, INK, STYLE
from loadtests.demo.sale import Outcome, Sale, Summary

COLOURS = {
    Outcome.CONFIRMED: "#1f9d77",
    Outcome.REJECTED: "#d64545",
    Outcome.SOLD_OUT: "#f0b429",
    Outcome.FAILED: "#102a43",
}
LABELS = {
    Outcome.CONFIRMED: "confirmed",
    Outcome.REJECTED: "rejected in their turn",
    Outcome.SOLD_OUT: "told sold out at the door",
    Outcome.FAILED: "failed",
}
LEFT, QUEUED = "#7c3aed", "#2680c2"


def draw(sale: Sale, summary: Summary, file: Path) -> None:
    """Draw tickets left and queue, answers a second, and each buyer's wait, over time."""
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(h_pad=0.12, hspace=0.06)
        figure = Figure(figsize=(12, 10), dpi=120, facecolor="white", layout=layout)
        tickets, answers, waits = figure.subplots(3, 1, sharex=True)
        figure.suptitle(_title(summary), x=0.01, ha="left", fontsize=17, fontweight="bold")
        _draw_tickets(tickets, sale)
        _draw_answers(answers, sale, summary)
        _draw_waits(waits, sale, summary)
        for axes in (tickets, answers, waits):
            axes.grid(axis="y", color=GRID, linewidth=0.8)
            axes.set_axisbelow(True)
            axes.set_xlim(0, max(summary.seconds, 0.1))
        figure.savefig(file)


def _title(summary: Summary) -> str:
    told = f"{summary.buyers:,} buyers, {summary.tickets:,} tickets: "
    if summary.sold_out_after_seconds is None:
        return told + f"{summary.sold:,} sold, none twice"
    return told + f"sold out after {summary.sold_out_after_seconds:.1f} s, none sold twice"


def _legend_above(axes: Axes) -> None:
    axes.legend(
        frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(LABELS), borderpad=0
    )


def _draw_tickets(axes: Axes, sale: Sale) -> None:
    times = [0.0, *(s.at for s in sale.samples)]
    left = [sale.tickets, *(s.left for s in sale.samples)]
    axes.fill_between(times, left, step="post", color=LEFT, alpha=0.15)
    axes.step(times, left, where="post", color=LEFT, linewidth=2, label="tickets left")
    axes.step(
        times,
        [0, *(s.queued for s in sale.samples)],
        where="post",
        color=QUEUED,
        linewidth=1.5,
        label="requests queued",
    )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("tickets, requests")
    _legend_above(axes)


def _draw_answers(axes: Axes, sale: Sale, summary: Summary) -> None:
    bin_seconds = max(0.05, summary.seconds / 60)
    bins = range(int(summary.seconds / bin_seconds) + 1)
    bottom = [0.0 for _ in bins]
    for outcome, label in LABELS.items():
        counts = Counter(
            int(b.answered_at / bin_seconds) for b in sale.bought if b.outcome == outcome
        )
        if not counts:
            continue
        heights = [counts[n] / bin_seconds for n in bins]
        axes.bar(
            [(n + 0.5) * bin_seconds for n in bins],
            heights,
            width=bin_seconds * 0.9,
            bottom=bottom,
            color=COLOURS[outcome],
            label=label,
        )
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    axes.set_ylabel("answers per second")
    _legend_above(axes)


def _draw_waits(axes: Axes, sale: Sale, summary: Summary) -> None:
    for outcome, colour in COLOURS.items():
        stories = [b for b in sale.bought if b.outcome == outcome]
        axes.scatter(
            [b.asked_at for b in stories],
            [1000 * b.waited_seconds for b in stories],
            s=7,
            color=colour,
            alpha=0.45,
            linewidths=0,
        )
    for name, value in (("p50", summary.p50_ms), ("p99", summary.p99_ms)):
        axes.axhline(value, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate(
            f"{name} {value:,.0f} ms",
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="right",
            fontsize=10,
        )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("button to answer, ms")
    axes.set_xlabel("seconds since the sale opened")
