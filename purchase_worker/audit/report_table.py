"""The audit's report as a table for a person."""

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from purchase_worker.audit.all_events import AuditReport
from purchase_worker.audit.findings import shown
from purchase_worker.audit.from_export import Replayed


def show_audit(console: Console, report: AuditReport) -> None:
    """Each invariant, how much was checked, and violations."""
    numbers = (Column(name, justify="right") for name in ("checked", "violations"))
    table = Table("", "invariant", *numbers, box=None, pad_edge=False)
    for invariant in report.invariants:
        good = invariant.violations == 0
        table.add_row(
            Text("ok" if good else "BROKEN", style="green" if good else "bold red"),
            invariant.description,
            f"{invariant.checked:,}",
            Text(f"{invariant.violations:,}", style="" if good else "bold red"),
        )
    console.print(table)
    for invariant in report.invariants:
        for example in invariant.examples:
            console.print(Text(f"  {invariant.name}: {example}", style="red"))
    plural = "" if report.ticket_types == 1 else "s"
    console.print(
        Text(
            f"{report.ticket_types:,} ticket type{plural}, {report.purchases:,} purchases:"
            f" {report.confirmed:,} confirmed, {report.open_holds:,} held,"
            f" {report.released:,} released, {report.expired:,} expired,"
            f" {report.rejected:,} rejected, {report.queued:,} queued;"
            f" {report.sold:,} sold + {report.held:,} held + {report.left:,} left"
            f" = {report.issued:,} issued"
        )
    )
    if report.ok:
        console.print(Text("The audit passes: every decision adds up.", style="bold green"))
    else:
        console.print(Text("The audit FAILS: the rows break a promise.", style="bold red"))


def show_replayed(console: Console, replayed: Replayed) -> None:
    """What an export says was sold, violations, and its digest."""
    outcomes = ", ".join(f"{count:,} {shown(kind)}" for kind, count in replayed.outcomes.items())
    left = replayed.issued - replayed.held - replayed.sold
    console.print(
        Text(
            f"Event {replayed.event}, {replayed.entries:,} entries: {outcomes or 'none'};"
            f" {replayed.sold:,} sold + {replayed.held:,} held + {left:,} left"
            f" = {replayed.issued:,} issued"
        )
    )
    for invariant, examples in replayed.examples.items():
        for example in examples:
            console.print(Text(f"  {invariant}: {example}", style="red"))
    console.print(Text(f"SHA-256 of all lines but the last: {replayed.sha256}"))
    if replayed.ok:
        console.print(Text("The audit passes: every decision adds up.", style="bold green"))
    else:
        broken = f"The audit FAILS: {replayed.violations:,} violations."
        console.print(Text(broken, style="bold red"))
