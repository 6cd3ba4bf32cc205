"""How every chart of the project looks: the inks, and what stands around a panel."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.axisbelow": True,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "legend.borderpad": 0,
    "legend.frameon": False,
    "savefig.dpi": 120,
    "savefig.facecolor": "white",
}
TITLE: dict[str, Any] = {"x": 0.01, "ha": "left", "fontweight": "bold"}


def name_counts(axes: Axes, label: str) -> None:
    """Of counts: an axis of whole numbers, each once."""
    axes.set_ylim(bottom=0, top=max(1.0, axes.get_ylim()[1]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel(label)


def draw_steps(
    axes: Axes, times: list[float], values: list[float], colour: str, label: str
) -> None:
    """A line of steps over a shaded area: what holds until the next value."""
    axes.fill_between(times, values, step="post", color=colour, alpha=0.15)
    axes.step(times, values, where="post", color=colour, linewidth=2, label=label)


def legend_above(axes: Axes, columns: int = 4) -> None:
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=columns)
