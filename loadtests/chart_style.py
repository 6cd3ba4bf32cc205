"""How every chart of the project looks: the inks, and what stands around a panel."""

from typing import Any

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
