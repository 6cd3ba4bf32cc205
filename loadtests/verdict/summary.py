"""A run and its verdict: as a table in the terminal, as JSON, as CSV."""

import csv
import os
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loadtests.recording.run import Moment, RecordedRun
from loadtests.verdict.judge import (
    IN_WORDS,
    ExitCode,
    RunVerdict,
    best_throughput,
    outcome,
    payments,
    sold_out_after_seconds,
    tickets_sold,
)

SUMMARY_FILE = "summary.json"
MOMENTS_FILE = "moments.csv"
STYLES = {
    ExitCode.GOOD: "bold green",
    ExitCode.ERRORS: "bold yellow",
    ExitCode.BROKEN_PROMISE: "bold red",
    ExitCode.THRESHOLD_MISSED: "bold yellow",
}


def write_summary(run: RecordedRun, verdict: RunVerdict, folder: Path) -> None:
    figures = msgspec.to_builtins(run)
    del figures["moments"]
    summary = figures | {
        "cores": os.cpu_count(),
        "best_throughput": best_throughput(run.moments),
        "tickets_sold": None if (sold := tickets_sold(run.moments)) is None else sold[0],
        "sold_out_after_seconds": sold_out_after_seconds(run.moments),
        "queued_max": max((moment.queued or 0 for moment in run.moments), default=0),
        "verdict": msgspec.to_builtins(verdict),
    }
    (folder / SUMMARY_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(summary)))


def write_csv(run: RecordedRun, folder: Path) -> None:
    """One line for each second; a column for the cores of each service."""
    cores = [f"cores_{name.replace(' ', '_')}" for name in run.cpu_seconds]
    fields = [name for name in Moment.__struct_fields__ if name != "cores"]
    with (folder / MOMENTS_FILE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(fields + cores)
        for moment in run.moments:
            busy = [moment.cores.get(name) for name in run.cpu_seconds]
            writer.writerow([getattr(moment, field) for field in fields] + busy)


def show(run: RecordedRun, verdict: RunVerdict, folder: Path, console: Console) -> None:
    if verdict.checked:
        console.print(_promises(verdict))
    for example in verdict.examples:
        console.print(f"  [red]{escape(example)}[/]")
    console.print()
    console.print(_figures(run))
    console.print()
    for reason in verdict.errors + verdict.missed:
        console.print(f"  [yellow]{escape(reason)}[/]")
    console.print(f"Sale: {outcome(run)}.")
    code = verdict.exit_code
    words = f"[{STYLES[code]}]{IN_WORDS[code]}[/]"
    console.print(f"Verdict: {words} (exit code {code:d}). Report: {folder}")


def _promises(verdict: RunVerdict) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("promise")
    table.add_column("checked", justify="right")
    table.add_column("broken", justify="right")
    for promise, checked in verdict.checked.items():
        broken = verdict.broken[promise]
        mark = "[bold red]BROKEN[/]" if broken else "[green]ok[/]"
        table.add_row(mark, promise.value, f"{checked:,}", f"{broken:,}")
    return table


def _figures(run: RecordedRun) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right")
    table.add_column()
    table.add_row("users", f"{run.users_max:,} at most, for {run.seconds:.0f} s in all")
    counts = run.answers
    table.add_row(
        "requests",
        f"{run.requests:,}, of which {run.failures:,} failed; answered with Retry-After:"
        f" {counts.retry_after_429:,} (429), {counts.retry_after_503:,} (503)"
        + (f", {counts.retry_after_400:,} (400)" if counts.retry_after_400 else ""),
    )
    table.add_row(
        "purchases",
        f"{counts.confirmed:,} confirmed, {counts.rejected:,} rejected, {counts.accepted:,} of them"
        f" answered 202 first; {counts.sold_out:,} answered sold out",
    )
    if counts.held:
        table.add_row("held", f"{counts.held:,}, {payments(counts)}")
    table.add_row(
        "throughput",
        f"{best_throughput(run.moments):,.0f} purchases decided/s in the best five seconds",
    )
    if run.cpu_seconds:
        costs = sorted(run.cpu_seconds.items(), key=lambda cost: -cost[1])
        table.add_row("CPU", ", ".join(f"{name} {seconds:,.1f} s" for name, seconds in costs))
    for name, latency in (
        ("request to 202", run.to_202),
        ("to decision", run.to_decision),
        ("to sold out", run.to_sold_out),
    ):
        if latency is not None:
            table.add_row(
                name,
                f"p50 {latency.p50_ms:,.0f} ms, p95 {latency.p95_ms:,.0f} ms,"
                f" p99 {latency.p99_ms:,.0f} ms, of {latency.count:,}",
            )
    return table
