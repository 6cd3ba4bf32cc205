"""The demo from its first token to its chart."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import msgspec
import uvloop
from rich.console import Console
from rich.live import Live
from rich.progress import track
from sqlalchemy import Engine

from loadtests.demo.chart import draw
from loadtests.demo.display import live, show_summary
from loadtests.demo.rush import Buyer, rush
from loadtests.demo.sale import Sale, Summary, summarise, wishes
from loadtests.demo.watch import Watcher
from purchase_worker.audit.report import audit
from purchase_worker.audit.table import show_audit
from shared.auth.mint_tokens import mint_tokens, user_names
from shared.config.settings import Settings
from shared.errors import ConfigurationError

# Frames drawn a second: enough to look alive, little enough to leave the machine to the sale.
FRAMES_PER_SECOND = 8


class Plan(msgspec.Struct, frozen=True):
    """What to show. `over_seconds`: within how long all buyers press their buttons."""

    buyers: int
    tickets: int
    over_seconds: float
    chart: Path
    seed: int


def run_demo(
    plan: Plan, base_url: str, settings: Settings, engine: Engine, console: Console
) -> bool:
    """Run a sale, show it, audit all; returns whether every promise was kept.

    Raises:
        ConfigurationError: the running system refuses what the demo needs.
    """
    organiser, *tokens = _tokens(plan, settings, engine, console)
    ticket_type_id = uvloop.run(_open_sale(base_url, organiser, plan))
    console.print(
        f"Ticket type {ticket_type_id} is on sale: {plan.tickets:,} tickets,"
        f" {plan.buyers:,} buyers within {plan.over_seconds:g} s."
    )
    sale = _hold(plan, base_url, engine, console, ticket_type_id, tokens)
    summary = summarise(sale)
    show_summary(console, summary)
    report = audit(engine, settings)
    show_audit(console, report)
    draw(sale, summary, plan.chart)
    console.print(f"Chart: {plan.chart}")
    return report.ok and _promises_kept(summary, sale)


def _promises_kept(summary: Summary, sale: Sale) -> bool:
    """What clients were told equals what the rows say, and everybody was told."""
    sold_by_rows = sale.tickets - sale.samples[-1].left
    return summary.sold == sold_by_rows and summary.failed == 0


def _tokens(plan: Plan, settings: Settings, engine: Engine, console: Console) -> list[str]:
    """The organiser's token, then one for each buyer."""
    # Names of their own, so that no limit of an earlier demo counts.
    names = ["demo-organiser", *user_names(f"demo-{secrets.token_hex(4)}-", plan.buyers)]
    with engine.begin() as connection:
        minted = mint_tokens(connection, settings, names)
    return list(
        track(
            minted,
            description="Signing the buyers' tokens",
            total=len(names),
            console=console,
            transient=True,
        )
    )


async def _open_sale(base_url: str, token: str, plan: Plan) -> int:
    """Make an event and its ticket type as an organiser does; returns the ticket type's id."""
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(days=60)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(base_url, headers=headers) as session:
        event = await _create(
            session,
            "/api/events/",
            {
                "title": "The demo's big night",
                "description": "Made by `eventify demo`.",
                "start_time": starts.isoformat(),
                "end_time": (starts + timedelta(hours=4)).isoformat(),
            },
        )
        return await _create(
            session,
            "/api/ticket-types/",
            {"event": event, "name": "Standing", "price": "49.00", "capacity": plan.tickets},
        )


async def _create(session: aiohttp.ClientSession, path: str, body: dict[str, object]) -> int:
    async with session.post(path, json=body) as response:
        content = await response.text()
    if response.status != 201:
        raise ConfigurationError(f"The gateway answered {response.status} to {path}: {content}")
    created: int = msgspec.json.decode(content)["id"]
    return created


def _hold(
    plan: Plan,
    base_url: str,
    engine: Engine,
    console: Console,
    ticket_type_id: int,
    tokens: list[str],
) -> Sale:
    """The sale itself, on the screen while it runs."""
    crowd = wishes(plan.buyers, plan.over_seconds, plan.seed)
    buyers = [
        Buyer(name, token, wish)
        for name, (token, wish) in enumerate(zip(tokens, crowd, strict=True))
    ]
    sale = Sale(tickets=plan.tickets, buyers=plan.buyers, bought=[], samples=[])
    watcher = Watcher(engine, ticket_type_id, sale)
    with _drawn(sale, console):
        try:
            rush(base_url, ticket_type_id, buyers, sale, opens=watcher.start)
        finally:
            watcher.stop()  # also when interrupted: the database may be stopped next
    return sale


@contextmanager
def _drawn(sale: Sale, console: Console) -> Iterator[None]:
    """Draw the sale again and again until the block ends, from a thread of its own."""
    over = threading.Event()
    with Live(live(sale), console=console, auto_refresh=False) as screen:

        def redraw() -> None:
            while not over.wait(1 / FRAMES_PER_SECOND):
                screen.update(live(sale), refresh=True)

        drawing = threading.Thread(target=redraw, daemon=True)
        drawing.start()
        try:
            yield
        finally:
            over.set()
            drawing.join()
            screen.update(live(sale), refresh=True)
    if not console.is_terminal:
        console.print()  # into a file the last frame is written without its line's end
