"""The result of a run: one table for people, one JSON file for programs."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.table import Table

from tests.abuse.measure import Limits, Memory, Result

# Of the counts of an attack so many are shown; the file has them all.
SHOWN_COUNTS = 4
# A change that is nothing but noise is not shown.
SHOWN_GROWTH = 1.1


class Report(msgspec.Struct, frozen=True):
    """`errors`: what speaks against the run as a whole, such as a failed audit."""

    seconds_of_a_window: float
    limits: Limits
    results: list[Result]
    errors: list[str]

    @property
    def ok(self) -> bool:
        return not self.errors and not any(result.problems for result in self.results)


def table(report: Report) -> Table:
    """Each abuse beside quiet."""
    rich = Table(box=None, header_style="bold", pad_edge=False)
    rich.add_column("abuse", no_wrap=True)
    rich.add_column("the attacker got")
    for column in ("p50 ms", "p99 ms", "x quiet", "control", "failed", "busy"):
        rich.add_column(column, justify="right", no_wrap=True)
    rich.add_column("memory, MiB")
    rich.add_column("verdict")
    for result in report.results:
        rich.add_row(*row(result))
    return rich


def row(result: Result) -> list[str]:
    control = "" if result.control is None else _ms(result.control.p99_ms)
    return [
        result.abuse,
        _counts(result),
        f"{_ms(result.quiet.p50_ms)} -> {_ms(result.abused.p50_ms)}",
        f"{_ms(result.quiet_p99_ms)} -> {_ms(result.abused.p99_ms)}",
        f"{result.ratio:.1f}",
        control,
        str(sum(result.failures.values())),
        f"{result.busy[0]:.0%} -> {result.busy[1]:.0%}",
        ", ".join(_memory(name, memory) for name, memory in _grown(result)),
        verdict(result),
    ]


def verdict(result: Result) -> str:
    if result.problems:
        return "[red]MISSED[/]: " + "; ".join(result.problems)
    return "[yellow]ok, as the control[/]" if result.as_control else "[green]ok[/]"


def markdown(results: Sequence[Result]) -> str:
    """The table for a document."""
    head = "abuse | the attacker got | p50 ms | p99 ms | x quiet | control p99 | failed | busy"
    lines = [f"| {head} | memory, MiB | verdict |", "| --- |" + " --- |" * 9]
    for result in results:
        cells = row(result)
        cells[-1] = (
            "MISSED: " + "; ".join(result.problems)
            if result.problems
            else ("ok, as the control" if result.as_control else "ok")
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_json(report: Report, file: Path) -> None:
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report)))


def _counts(result: Result) -> str:
    counts = list(result.got.counts.items())
    reported = [f"{n:,} x {label}" for label, n in counts[:SHOWN_COUNTS]]
    rest = sum(n for _, n in counts[SHOWN_COUNTS:])
    if rest:
        reported.append(f"{rest:,} others")
    return f"{', '.join(reported) or 'nothing'} ({result.got.requests_per_second:,.0f}/s)"


def _grown(result: Result) -> list[tuple[str, Memory]]:
    return [
        (name, memory)
        for name, memory in result.memory.items()
        if name == "gateway" or memory.largest_mib > SHOWN_GROWTH * memory.quiet_mib
    ]


def _memory(name: str, memory: Memory) -> str:
    return f"{name} {memory.quiet_mib:,.0f} -> {memory.largest_mib:,.0f}"


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:,.0f}"
