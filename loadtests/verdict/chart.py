"""The chart of a run over time, as a PNG."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullFormatter

from loadtests.chart_style import STYLE, TITLE, draw_steps, legend_above, name_counts
from loadtests.recording.costs import LOAD_TEST, THE_REST
from loadtests.recording.run import Moment, RecordedRun
from loadtests.verdict.judge import ExitCode, RunVerdict, best_throughput, outcome

CHART_FILE = "sale.png"
USERS, REQUESTS, ACCEPTED, DECIDED = "#7b8794", "#9fb3c8", "#f0b429", "#1f9d77"
SOLD_OUT = "#ba2525"
LEFT, QUEUED, MISSED = "#7c3aed", "#2680c2", "#d64545"
PERCENTILES = {"p50_ms": "#9fb3c8", "p95_ms": "#2680c2", "p99_ms": "#7c3aed"}
# From below: what is Eventify's own, what it stands on, and what is none of it.
CORES = {
    "gateway": "#7c3aed",
    "worker": "#1f9d77",
    "sweeper": "#102a43",
    "catalog": "#f0b429",
    "postgres": "#2680c2",
    "valkey": "#d64545",
    LOAD_TEST: "#9fb3c8",
    THE_REST: "#e4e7eb",
}
IN_WORDS = {
    ExitCode.GOOD: "every promise kept",
    ExitCode.ERRORS: "with errors",
    ExitCode.BROKEN_PROMISE: "A PROMISE WAS BROKEN",
    ExitCode.THRESHOLD_MISSED: "every promise kept, a threshold missed",
}


def draw(run: RecordedRun, verdict: RunVerdict, folder: Path) -> None:
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(h_pad=0.12, hspace=0.06)
        figure = Figure(figsize=(12, 15), layout=layout)
        panels = figure.subplots(6, 1, sharex=True, height_ratios=[1, 2, 1.3, 1.3, 2, 1.5])
        figure.suptitle(_title(run, verdict), fontsize=17, **TITLE)
        panels[0].set_title(outcome(run), loc="left", fontsize=11, pad=12)
        for axes, draw_panel in zip(
            panels,
            (
                _draw_counts("users", "users", USERS),
                _draw_rates,
                _draw_counts("left", "tickets left", LEFT),
                _draw_counts("queued", "requests queued", QUEUED),
                _draw_waits,
                _draw_cores,
            ),
            strict=True,
        ):
            draw_panel(axes, run)
            axes.grid(axis="y", linewidth=0.8)
            axes.set_xlim(0, len(run.moments))
        panels[-1].set_xlabel("seconds since the run began")
        figure.savefig(folder / CHART_FILE)


def _title(run: RecordedRun, verdict: RunVerdict) -> str:
    return (
        f"{run.users_max:,} users, {best_throughput(run.moments):,.0f} purchases decided a second"
        f" at best: {IN_WORDS[verdict.exit_code]}"
    )


def _draw_counts(field: str, label: str, colour: str) -> Callable[[Axes, RecordedRun], None]:
    def draw_panel(axes: Axes, run: RecordedRun) -> None:
        draw_steps(axes, *_held(run.moments, field), colour, label)
        name_counts(axes, label)

    return draw_panel


def _draw_rates(axes: Axes, run: RecordedRun) -> None:
    times, heights = _held(run.moments, "requests")
    axes.fill_between(times, heights, step="post", color=REQUESTS, alpha=0.35, label="requests")
    for field, colour, label in (
        ("accepted", ACCEPTED, "answered 202"),
        ("decided", DECIDED, "decided"),
        ("sold_out", SOLD_OUT, "sold out"),
    ):
        times, heights = _held(run.moments, field)
        axes.step(times, heights, where="post", color=colour, linewidth=2, label=label)
    name_counts(axes, "per second")
    legend_above(axes)


def _draw_waits(axes: Axes, run: RecordedRun) -> None:
    for field, colour in PERCENTILES.items():
        times, waits = _known(run.moments, field)
        label = field.removesuffix("_ms").replace("p50", "decision, p50")
        axes.plot(times, waits, color=colour, linewidth=1.5, marker="o", markersize=3, label=label)
    for field, line in (("sold_out_p50_ms", ":"), ("sold_out_p99_ms", "--")):
        times, waits = _known(run.moments, field)
        if times:
            label = f"sold out, {field.removeprefix('sold_out_').removesuffix('_ms')}"
            axes.plot(times, waits, color=SOLD_OUT, linewidth=1.2, linestyle=line, label=label)
    limit = run.thresholds.max_p99_ms
    if limit is not None:
        label = f"p99 must stay under {limit:,.0f} ms"
        axes.axhline(limit, color=MISSED, linewidth=1.2, linestyle=(0, (4, 3)), label=label)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("request to answer, ms")
    legend_above(axes, columns=6)


def _draw_cores(axes: Axes, run: RecordedRun) -> None:
    """Who kept the machine busy, one upon the other; empty where the system runs elsewhere."""
    known = [moment for moment in run.moments if moment.cores]
    services = {name: colour for name, colour in CORES.items() if name in run.cpu_seconds}
    if known:
        axes.stackplot(
            [moment.at for moment in known],
            [[moment.cores.get(name, 0.0) for moment in known] for name in services],
            labels=list(services),
            colors=list(services.values()),
            step="post",
        )
        legend_above(axes, columns=len(services))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("cores busy")


def _known(moments: Sequence[Moment], field: str) -> tuple[list[float], list[float]]:
    known = [(m.at, value) for m in moments if (value := getattr(m, field)) is not None]
    return [at for at, _ in known], [value for _, value in known]


def _held(moments: Sequence[Moment], field: str) -> tuple[list[float], list[float]]:
    """The same for a line of steps, whose last one is a second long as well."""
    times, values = _known(moments, field)
    return ([*times, times[-1] + 1], values + values[-1:]) if times else (times, values)
