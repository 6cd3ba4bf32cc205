"""The demo from its first token to its chart."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.live import Live
from rich.progress import track
from sqlalchemy import Engine

from loadtests.demo.chart import draw
from loadtests.demo.display import live, show_summary
from loadtests.demo.rush import crowd, rush
from loadtests.demo.sale import BuyerOutcome, DemoSale
from loadtests.demo.watch import open_console, register_organiser, wait_until_watched
from loadtests.recording.sampling import sample_rows
from loadtests.selling import create_sale
from purchase_worker.audit.all_events import audit
from purchase_worker.audit.report_table import show_audit
from shared.auth.mint_tokens import mint_tokens, user_names
from shared.config.settings import Settings

# Enough to look alive, little enough to leave the machine to the sale.
FRAME_SECONDS = 0.125
SAMPLE_SECONDS = 0.05


class DemoOptions(msgspec.Struct, frozen=True):
    """What to show.

    Attributes:
        over_seconds: within how long all buyers press their buttons.
        watch: whether somebody is to watch it in a browser; it waits for them.
    """

    buyers: int
    tickets: int
    over_seconds: float
    chart: Path
    seed: int
    watch: bool


def run_demo(
    options: DemoOptions, base_url: str, settings: Settings, engine: Engine, console: Console
) -> bool:
    """Run a sale, show it, audit everything; returns whether every promise was kept.

    Raises:
        ConfigurationError: the running system refuses what the demo needs.
    """
    organiser = register_organiser(base_url) if options.watch else None
    name = organiser.username if organiser else "demo-organiser"
    token, *tokens = _mint_tokens(name, options.buyers, settings, engine, console)
    created = create_sale(
        *(base_url, token, "The demo's big night", options.tickets), published=options.watch
    )
    ticket_types = created.ticket_types
    console.print(
        f"{len(ticket_types)} ticket types are on sale: {options.tickets:,} tickets in all,"
        f" {options.buyers:,} buyers within {options.over_seconds:g} s."
    )
    sale = DemoSale(tickets=options.tickets, buyers=options.buyers)
    buyers = crowd(tokens, ticket_types, options.over_seconds, options.seed)
    if organiser:
        open_console(settings.public_url or base_url, organiser, created.event, console)
        wait_until_watched(engine, organiser)

    def add_sample() -> None:
        if sale.opened_at is not None and (rows := sample_rows(engine, ticket_types)):
            at = time.monotonic() - sale.opened_at
            sale.samples.append(msgspec.structs.replace(rows, at=at))

    # The last sample is taken also when interrupted: the database may be stopped next.
    with _drawn(sale, console), _repeating(add_sample, SAMPLE_SECONDS):
        rush(base_url, buyers, sale)
    show_summary(console, sale)
    report = audit(engine, settings)
    show_audit(console, report)
    draw(sale, options.chart)
    console.print(f"Chart: {options.chart}")
    return report.ok and _promises_kept(sale)


def _promises_kept(sale: DemoSale) -> bool:
    """Whether clients were answered what the rows say, and all were answered."""
    sold_by_rows = sale.tickets - sale.samples[-1].left
    return sale.sold == sold_by_rows and sale.count(BuyerOutcome.FAILED) == 0


def _mint_tokens(
    organiser: str, buyers: int, settings: Settings, engine: Engine, console: Console
) -> list[str]:
    """The organiser's token, then one for each buyer."""
    # Names of their own, so that no limit of an earlier demo counts.
    names = [organiser, *user_names(f"demo-{secrets.token_hex(4)}-", buyers)]
    with engine.begin() as connection:
        minted = mint_tokens(connection, settings, names)
    description = "Signing the buyers' tokens"
    return list(track(minted, description, len(names), console=console, transient=True))


@contextmanager
def _drawn(sale: DemoSale, console: Console) -> Iterator[None]:
    with (
        Live(live(sale), console=console, auto_refresh=False) as screen,
        _repeating(lambda: screen.update(live(sale), refresh=True), FRAME_SECONDS),
    ):
        yield
    if not console.is_terminal:
        console.print()  # into a file the last frame is written without its line's end


@contextmanager
def _repeating(action: Callable[[], None], every_seconds: float) -> Iterator[None]:
    """Run an action in a thread of its own until the block ends, and once more then."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(every_seconds):
            action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        action()
