"""The sale as a page of its own: its figures over time as charts, and the tab's rows. Pure."""

from collections.abc import Mapping, Sequence
from html import escape

from loadtests.recording.run import Moment

REFRESH_SECONDS = 2
WIDTH, HEIGHT, LEFT, TOP = 900, 150, 60, 24
# Each chart: its title, and what it draws in which colour.
CHARTS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "per second": {
        "accepted": ("answered 202", "#b7791f"),
        "decided": ("decided", "#1f9d77"),
        "sold_out": ("sold out", "#ba2525"),
    },
    "tickets left": {"left": ("tickets left", "#7c3aed"), "held": ("held", "#b7791f")},
    "requests queued": {"queued": ("queued", "#2680c2")},
    "request to answer, ms": {
        "p50_ms": ("decision, p50", "#627d98"),
        "p95_ms": ("decision, p95", "#2680c2"),
        "p99_ms": ("decision, p99", "#7c3aed"),
        "sold_out_p99_ms": ("sold out, p99", "#ba2525"),
    },
}


def sale_page(rows: Sequence[Mapping[str, object]], moments: Sequence[Moment], over: bool) -> str:
    """The page; it reloads itself until the verdict is there."""
    refresh = "" if over else f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
    charts = "".join(_chart(title, lines, moments) for title, lines in CHARTS.items())
    table = "".join(
        f"<tr><td>{escape(str(row['what']))}</td><td>{escape(str(row['now']))}</td></tr>"
        for row in rows
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>The sale</title>{refresh}
<style>
body {{ font: 15px system-ui, sans-serif; color: #1f2933; margin: 2em auto; max-width: 60em }}
td {{ padding: 0.15em 2em 0.15em 0 }}
text {{ font-size: 12px; fill: #52606d }}
</style></head><body><h1>The sale</h1>{charts}<table>{table}</table></body></html>
"""


def _chart(title: str, lines: Mapping[str, tuple[str, str]], moments: Sequence[Moment]) -> str:
    seconds = max(1, len(moments) - 1)
    highest = max((getattr(moment, field) or 0 for moment in moments for field in lines), default=0)
    scale = HEIGHT / max(1.0, highest)

    def points(field: str) -> str:
        return " ".join(
            f"{LEFT + moment.at / seconds * (WIDTH - LEFT):.1f},{TOP + HEIGHT - value * scale:.1f}"
            for moment in moments
            if (value := getattr(moment, field)) is not None
        )

    drawn = "".join(
        f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points(field)}"/>'
        for field, (_, colour) in lines.items()
    )
    legend = " ".join(
        f'<tspan dx="12" fill="{colour}">&#9632; {label}</tspan>'
        for label, colour in lines.values()
    )
    bottom = TOP + HEIGHT
    return f"""<svg viewBox="0 0 {WIDTH} {bottom + 20}" role="img" aria-label="{title}">
<text x="{LEFT}" y="14">{title} {legend}</text>
<text x="{LEFT - 6}" y="{TOP + 4}" text-anchor="end">{highest:,.0f}</text>
<text x="{LEFT - 6}" y="{bottom}" text-anchor="end">0</text>
<text x="{WIDTH}" y="{bottom + 16}" text-anchor="end">{len(moments)} s</text>
<line x1="{LEFT}" x2="{WIDTH}" y1="{bottom}" y2="{bottom}" stroke="#cbd2d9"/>{drawn}</svg>
"""
