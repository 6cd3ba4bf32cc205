"""The chart of a sale over time, as a PNG."""

from collections import Counter
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from loadtests.chart_style import INK, STYLE, TITLE, draw_steps, legend_above
from loadtests.demo.sale import BuyerOutcome, DemoSale

# From below, with its colour.
OUTCOMES = {
    BuyerOutcome.CONFIRMED: ("confirmed", "#1f9d77"),
    BuyerOutcome.REJECTED: ("rejected in their turn", "#d64545"),
    BuyerOutcome.SOLD_OUT: ("sold out, nothing stored", "#f0b429"),
    BuyerOutcome.FAILED: ("failed", "#102a43"),
}
LEFT, QUEUED = "#7c3aed", "#2680c2"


def draw(sale: DemoSale, file: Path) -> None:
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(h_pad=0.12, hspace=0.06)
        figure = Figure(figsize=(12, 10), layout=layout)
        panels = figure.subplots(3, 1, sharex=True)
        figure.suptitle(_title(sale), fontsize=17, **TITLE)
        for axes, draw_panel in zip(panels, (_draw_rows, _draw_answers, _draw_waits), strict=True):
            draw_panel(axes, sale)
            axes.grid(axis="y", linewidth=0.8)
            axes.set_xlim(0, max(sale.seconds, 0.1))
        figure.savefig(file)


def _title(sale: DemoSale) -> str:
    sold_out_after = sale.sold_out_after_seconds
    outcome = (
        f"{sale.sold:,} sold, none twice"
        if sold_out_after is None
        else f"sold out after {sold_out_after:.1f} s, none sold twice"
    )
    return f"{len(sale.results):,} buyers, {sale.tickets:,} tickets: {outcome}"


def _draw_rows(axes: Axes, sale: DemoSale) -> None:
    times = [0.0, *(s.at for s in sale.samples)]
    left = [float(sale.tickets), *(float(s.left) for s in sale.samples)]
    queued = [0, *(s.queued for s in sale.samples)]
    draw_steps(axes, times, left, LEFT, "tickets left")
    axes.step(times, queued, where="post", color=QUEUED, linewidth=1.5, label="requests queued")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("tickets, requests")
    legend_above(axes)


def _draw_answers(axes: Axes, sale: DemoSale) -> None:
    bin_seconds = max(0.05, sale.seconds / 60)
    bins = range(int(sale.seconds / bin_seconds) + 1)
    bottom = [0.0 for _ in bins]
    for outcome, (label, colour) in OUTCOMES.items():
        counts = Counter(
            int(r.answered_at / bin_seconds) for r in sale.results if r.outcome is outcome
        )
        if not counts:
            continue
        heights = [counts[n] / bin_seconds for n in bins]
        centres = [(n + 0.5) * bin_seconds for n in bins]
        width = bin_seconds * 0.9
        axes.bar(centres, heights, width=width, bottom=bottom, color=colour, label=label)
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    axes.set_ylabel("answers per second")
    legend_above(axes)


def _draw_waits(axes: Axes, sale: DemoSale) -> None:
    for outcome, (_, colour) in OUTCOMES.items():
        results = [result for result in sale.results if result.outcome is outcome]
        meant_at = [result.meant_at for result in results]
        waited_ms = [result.waited_ms for result in results]
        axes.scatter(meant_at, waited_ms, s=7, color=colour, alpha=0.45, linewidths=0)
    percentile_ms = sale.percentile_ms(*OUTCOMES)
    for share in (0.5, 0.99):
        value = percentile_ms(share)
        axes.axhline(value, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate(
            f"p{share:.0%} of all answers {value:,.0f} ms".replace("%", ""),
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
