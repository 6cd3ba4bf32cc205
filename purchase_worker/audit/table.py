"""The audit's report as a table for a person."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from purchase_worker.audit.report import AuditReport


def show_audit(console: Console, report: AuditReport) -> None:
    """Each invariant, how much was checked, and violations."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("invariant")
    table.add_column("checked", justify="right")
    table.add_column("violations", justify="right")
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
    verdict = (
        Text("The audit passes: every decision adds up.", style="bold green")
        if report.ok
        else Text("The audit FAILS: the rows break a promise.", style="bold red")
    )
    console.print(
        Text(
            f"{report.ticket_types:,} ticket types, {report.purchases:,} purchases:"
            f" {report.confirmed:,} confirmed, {report.rejected:,} rejected,"
            f" {report.queued:,} queued; {report.sold:,} sold + {report.left:,} left"
            f" = {report.issued:,} issued"
        )
    )
    console.print(verdict)
