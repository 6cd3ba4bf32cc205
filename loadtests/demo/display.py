"""What the operator sees: the sale while it runs, then its sums."""

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadtests.demo.sale import Outcome, Sale, Summary

BAR_WIDTH = 34


def live(sale: Sale) -> RenderableType:
    """The sale as it stands: drawn again and again while it runs."""
    sample = sale.samples[-1] if sale.samples else None
    left = sample.left if sample else sale.tickets
    queued = sample.queued if sample else 0
    bars = Table.grid(padding=(0, 1))
    bars.add_column(justify="right", width=16)
    bars.add_column(width=BAR_WIDTH)
    bars.add_column(justify="right", width=18)
    bars.add_row(
        "tickets left",
        ProgressBar(sale.tickets, left, width=BAR_WIDTH, complete_style="magenta"),
        f"{left:,} of {sale.tickets:,}",
    )
    bars.add_row(
        "buyers answered",
        ProgressBar(sale.buyers, len(sale.bought), width=BAR_WIDTH, complete_style="cyan"),
        f"{len(sale.bought):,} of {sale.buyers:,}",
    )
    counts = Table.grid(padding=(0, 2))
    for _ in range(5):
        counts.add_column(justify="right", min_width=11)
    counts.add_row(
        *(
            Text(name, style="dim")
            for name in ("queued", "confirmed", "rejected", "sold out", "decisions/s")
        )
    )
    counts.add_row(
        Text(f"{queued:,}", style="yellow"),
        Text(f"{sale.count(Outcome.CONFIRMED):,}", style="green"),
        Text(f"{sale.count(Outcome.REJECTED):,}", style="red"),
        Text(f"{sale.count(Outcome.SOLD_OUT):,}", style="red"),
        Text(f"{decisions_per_second(sale):,.0f}", style="bold"),
    )
    return Panel(Group(bars, Text(), counts), title="on sale", border_style="magenta")


def decisions_per_second(sale: Sale) -> float:
    """Over the last half second of samples."""
    recent = sale.samples[-10:]
    if len(recent) < 2:
        return 0.0
    return (recent[-1].decisions - recent[0].decisions) / (recent[-1].at - recent[0].at)


def show_summary(console: Console, summary: Summary) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right")
    table.add_column()
    sold = f"{summary.sold:,} of {summary.tickets:,} tickets, to {summary.confirmed:,} buyers"
    if summary.sold_out_after_seconds is not None:
        sold += f"; sold out after {summary.sold_out_after_seconds:.1f} s"
    table.add_row("sold", Text(sold, style="bold green"))
    table.add_row("rejected", f"{summary.rejected:,} that did not fit when their turn came")
    table.add_row("sold out", f"{summary.sold_out:,} told so at the door, nothing stored")
    if summary.failed:
        table.add_row("failed", Text(f"{summary.failed:,} got no answer", style="bold red"))
    if summary.retries:
        table.add_row("retries", f"{summary.retries:,} (refused for now, same key sent again)")
    table.add_row(
        "throughput",
        f"{summary.buyers:,} buyers answered in {summary.seconds:.1f} s:"
        f" {summary.answers_per_second:,.0f} a second",
    )
    table.add_row(
        "request to decision",
        f"p50 {summary.p50_ms:,.0f} ms, p99 {summary.p99_ms:,.0f} ms (from the buyer's button)",
    )
    console.print(Panel(table, title="the sale", border_style="green"))
