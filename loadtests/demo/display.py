"""What the operator sees: the sale while it runs, then its summary."""

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadtests.demo.sale import BuyerOutcome, DemoSale

BAR_WIDTH = 34


def live(sale: DemoSale) -> RenderableType:
    sample = sale.samples[-1] if sale.samples else None
    left = sample.left if sample else sale.tickets
    bars = Table.grid(padding=(0, 1))
    bars.add_column(justify="right", width=16)
    bars.add_column(width=BAR_WIDTH)
    bars.add_column(justify="right", width=18)
    for label, done, total, style in (
        ("tickets left", left, sale.tickets, "magenta"),
        ("buyers answered", len(sale.results), sale.buyers, "cyan"),
    ):
        bar = ProgressBar(total, done, width=BAR_WIDTH, complete_style=style)
        bars.add_row(label, bar, f"{done:,} of {total:,}")
    counts = {
        "queued": (sample.queued if sample else 0, "yellow"),
        "confirmed": (sale.count(BuyerOutcome.CONFIRMED), "green"),
        "rejected": (sale.count(BuyerOutcome.REJECTED), "red"),
        "sold out": (sale.count(BuyerOutcome.SOLD_OUT), "red"),
        "decisions/s": (sale.decisions_per_second, "bold"),
    }
    columns = Table.grid(padding=(0, 2))
    for _ in counts:
        columns.add_column(justify="right", min_width=11)
    columns.add_row(*(Text(name, style="dim") for name in counts))
    columns.add_row(*(Text(f"{value:,.0f}", style=style) for value, style in counts.values()))
    return Panel(Group(bars, Text(), columns), title="on sale", border_style="magenta")


def show_summary(console: Console, sale: DemoSale) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right")
    table.add_column()
    confirmed = sale.count(BuyerOutcome.CONFIRMED)
    sold = f"{sale.sold:,} of {sale.tickets:,} tickets, to {confirmed:,} buyers"
    if (sold_out_after := sale.sold_out_after_seconds) is not None:
        sold += f"; sold out after {sold_out_after:.1f} s"
    table.add_row("sold", Text(sold, style="bold green"))
    rejected, sold_out = sale.count(BuyerOutcome.REJECTED), sale.count(BuyerOutcome.SOLD_OUT)
    table.add_row("rejected", f"{rejected:,} that did not fit when their turn came")
    table.add_row("sold out", f"{sold_out:,} answered so at once, nothing stored")
    if failed := sale.count(BuyerOutcome.FAILED):
        table.add_row("failed", Text(f"{failed:,} got no answer", style="bold red"))
    if retries := sum(result.retries for result in sale.results):
        table.add_row("retries", f"{retries:,} (not decided yet, same key sent again)")
    answered, seconds = len(sale.results), sale.seconds
    rate = answered / seconds if seconds else 0.0
    table.add_row(
        "throughput", f"{answered:,} buyers answered in {seconds:.1f} s: {rate:,.0f} a second"
    )
    for label, outcomes in (
        ("request to decision", (BuyerOutcome.CONFIRMED, BuyerOutcome.REJECTED)),
        ("request to sold out", (BuyerOutcome.SOLD_OUT,)),
    ):
        percentile_ms = sale.percentile_ms(*outcomes)
        waits = f"p50 {percentile_ms(0.5):,.0f} ms, p99 {percentile_ms(0.99):,.0f} ms"
        if any(map(sale.count, outcomes)):
            table.add_row(label, f"{waits} (from the buyer's button)")
    console.print(Panel(table, title="the sale", border_style="green"))
