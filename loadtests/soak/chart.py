"""The chart of a soak, as a PNG: a panel for each kind of curve, over the minutes of the run."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine

from loadtests.chart_style import STYLE, TITLE
from loadtests.soak.load.tally import Minute
from loadtests.soak.report import SoakReport
from loadtests.soak.sampling.sample import curves, curves_of
from loadtests.soak.verdict.curves import COME_AND_GO, GROW_WITH_SALES, RELATION
from loadtests.soak.verdict.trends import Point

COLUMNS = 2
# In a panel: the others are small, and would only hide these.
LINES_MAX = 9
Lines = Mapping[str, Sequence[Point]]


def draw(report: SoakReport, file: Path) -> None:
    found = curves(report.samples)

    def of(kind: str) -> Lines:
        return curves_of(kind, found)

    def rates(lines: Lines) -> Lines:
        return {name: _rate(points) for name, points in lines.items()}

    relations = of(RELATION)
    panels: list[tuple[str, str, Lines]] = [
        ("Answers", "a second", _answers(report.minutes)),
        ("Latency from the intended moment", "ms", _latencies(report.minutes)),
        ("Memory of each process (private)", "MiB", of("private_mib")),
        ("CPU", "cores", rates(of("cpu_seconds"))),
        ("Open files", "files", of("open_files")),
        ("Threads", "threads", of("threads")),
        ("Connections to PostgreSQL", "", {**of("connections_of"), **of("connections_in_state")}),
        ("Memory of PostgreSQL's sessions, by service", "MiB", of("session_mib")),
        ("Valkey", "MiB; thousands", _valkey(found)),
        ("Tables that grow with sales, with indexes", "MiB", _tables(relations, GROW_WITH_SALES)),
        ("Tables whose rows come and go", "MiB", _tables(relations, COME_AND_GO)),
        ("Unused space in tables", "MiB", of("wasted_mib")),
        ("Dead rows", "rows", of("dead_rows")),
        ("WAL", "MiB a second; MiB of files / 100", _wal(found)),
        (
            "Oldest transaction (s), queue, checkpoints, vacuums / 10",
            "",
            _others(found, of("vacuums")),
        ),
    ]
    rows = -(-len(panels) // COLUMNS)
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.12, hspace=0.04)
        canvas = Canvas(figsize=(17, 1 + 3.4 * rows), layout=layout)
        canvas.suptitle(_title(report), fontsize=15, **TITLE)
        every = list(canvas.subplots(rows, COLUMNS).flat)
        for axes, (title, label, lines) in zip(every, panels, strict=False):
            _draw_panel(axes, title, label, lines)
        for axes in every[len(panels) :]:
            axes.set_axis_off()
        canvas.savefig(file)


def _title(report: SoakReport) -> str:
    growing = len(report.growing)
    verdict = f"{growing} of {len(report.verdicts)} curves grow" if growing else "nothing grows"
    return (
        f"{report.seconds / 60:.0f} minutes at {report.per_second:g} purchases/s"
        f" on {report.machine.cores} cores: {verdict} without bound"
    )


def _draw_panel(axes: Axes, title: str, label: str, lines: Lines) -> None:
    axes.set_title(title, loc="left", fontsize=12)
    largest = sorted(lines.items(), key=_largest, reverse=True)[:LINES_MAX]
    for name, points in largest:
        times = [point.at / 60 for point in points]
        axes.plot(times, [point.value for point in points], linewidth=1.4, label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.set_ylabel(label)
    axes.set_xlabel("minutes")
    axes.grid(linewidth=0.6)
    if largest:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)


def _largest(line: tuple[str, Sequence[Point]]) -> float:
    return max((point.value for point in line[1]), default=0.0)


def _answers(minutes: Sequence[Minute]) -> Lines:
    """The commonest counts."""
    lines: dict[str, list[Point]] = {}
    for minute in minutes:
        for what, count in minute.counts.items():
            lines.setdefault(what, []).append(Point(minute.at, count / minute.seconds))
    return lines


def _latencies(minutes: Sequence[Minute]) -> Lines:
    return {
        f"{until}, {name.removesuffix('_ms')}": [
            Point(minute.at, getattr(summary, name))
            for minute in minutes
            if (summary := getattr(minute, until)) is not None
        ]
        for until in ("accepted", "decided")
        for name in ("p50_ms", "p99_ms")
    }


def _tables(relations: Lines, tables: Iterable[str]) -> Lines:
    """Each with its indexes."""
    sums: dict[str, dict[float, float]] = {table: {} for table in tables}
    for name, points in relations.items():
        table = sums.get(name.partition("/")[0])
        if table is not None:
            for point in points:
                table[point.at] = table.get(point.at, 0.0) + point.value
    return {
        table: [Point(at, value) for at, value in points.items()] for table, points in sums.items()
    }


def _valkey(found: Lines) -> Lines:
    return {
        "memory, MiB": found.get("valkey_mib", ()),
        "keys, thousands": _scaled(found.get("valkey_keys", ()), 1_000),
        "clients": found.get("valkey_clients", ()),
        "channels": found.get("valkey_channels", ()),
    }


def _wal(found: Lines) -> Lines:
    return {
        "written, MiB a second": _rate(found.get("wal_mib", ())),
        "files, 100 MiB": _scaled(found.get("wal_files_mib", ()), 100),
    }


def _others(found: Lines, vacuums: Lines) -> Lines:
    tables = list(vacuums.values())
    total = [
        Point(points[0].at, sum(point.value for point in points) / 10)
        for points in zip(*tables, strict=False)
    ]
    names = ("oldest_transaction_seconds", "queued", "checkpoints", "deadlocks")
    return {name.replace("_", " "): found.get(name, ()) for name in names} | {
        "vacuums of all tables / 10": total
    }


def _rate(points: Sequence[Point]) -> list[Point]:
    """What was added in a second, from each point to the next."""
    return [
        Point(later.at, (later.value - earlier.value) / (later.at - earlier.at))
        for earlier, later in pairwise(points)
    ]


def _scaled(points: Sequence[Point], by: float) -> list[Point]:
    return [Point(point.at, point.value / by) for point in points]
