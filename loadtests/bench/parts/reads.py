"""Reads: a page, a published sale, an event and a ticket type, beside a bare ASGI function."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
from sqlalchemy import Engine, text

from loadtests.bench.load.requests import reading
from loadtests.bench.report.figures import Figure, at_least, percent_figure
from loadtests.bench.system.baseline import Server, running_server
from loadtests.bench.system.rows import add_ticket_types, event_of
from loadtests.bench.turns.bench import Bench
from loadtests.bench.turns.kinds import at_baseline, at_gateway
from loadtests.bench.turns.rounds import Contender, TurnResult, take_turns

BARE = "bare_asgi_reads_per_second"
PAGE = "page_reads_per_second"
SALE = "sale_reads_per_second"
SALE_NOT_MODIFIED = "sale_not_modified_reads_per_second"
EVENT = "event_reads_per_second"
TICKET_TYPE = "ticket_type_reads_per_second"
CHANGING = "changing_ticket_type_reads_per_second"
TARGETS = {
    PAGE: at_least(60),
    SALE: at_least(60),
    SALE_NOT_MODIFIED: at_least(60),
    EVENT: at_least(25),
    TICKET_TYPE: at_least(25),
}
# Of a sale in full swing: a batch of decisions each.
CHANGES_PER_SECOND = 50
PUBLISH = text("UPDATE events SET published = true WHERE id = :id")
CHANGE = text("SELECT eventify_issue(:id, 1)")


def measure(bench: Bench) -> list[Figure]:
    # Fewer than may be left, so that more can be issued.
    (ticket_type,) = add_ticket_types(bench.system.engine, 1, capacity=1_000)
    event = event_of(bench.system.engine, ticket_type)
    with bench.system.engine.begin() as connection:
        connection.execute(PUBLISH, {"id": event})
    with running_server("loadtests.baselines.bare_asgi", 1) as bare:
        contenders = _contenders(bench, bare, event, ticket_type)
        for one in contenders:
            one.take_turn()
        measured = take_turns(contenders, bench.sizes.rounds, bench.say)
    base = measured.pop(BARE)
    return [
        base.figure("/s"),
        *(one.figure("/s") for one in measured.values()),
        *(
            percent_figure(
                name.replace("per_second", "of_bare_percent"),
                f"{one.contender.label}, of the bare function",
                one.rates,
                base.rates,
                TARGETS.get(name),
            )
            for name, one in measured.items()
        ),
    ]


def _contenders(bench: Bench, bare: Server, event: int, ticket_type: int) -> list[Contender]:
    sale, of_type = f"/api/sales/{event}/", f"/api/ticket-types/{ticket_type}/"
    etag = httpx.get(f"http://127.0.0.1:{bench.system.port}{sale}").headers["etag"]

    def read_changing() -> TurnResult:
        with _changed_meanwhile(bench.system.engine, ticket_type):
            return at_gateway(bench, bench.reading(of_type))

    return [
        Contender(
            BARE,
            "bare ASGI function: GET, one process",
            lambda: at_baseline(bench, bare, reading([sale], [], status=202)),
        ),
        Contender(PAGE, "a page", lambda: at_gateway(bench, reading(["/"], []))),
        Contender(SALE, "a published sale", lambda: at_gateway(bench, reading([sale], []))),
        Contender(
            SALE_NOT_MODIFIED,
            "a published sale, not modified",
            lambda: at_gateway(bench, reading([sale], [], status=304, if_none_match=etag)),
        ),
        Contender(
            EVENT,
            "an event",
            lambda: at_gateway(bench, bench.reading(f"/api/events/{event}/")),
        ),
        Contender(
            TICKET_TYPE,
            "a ticket type",
            lambda: at_gateway(bench, bench.reading(of_type)),
        ),
        Contender(
            CHANGING,
            f"a ticket type that changes {CHANGES_PER_SECOND} times a second",
            read_changing,
        ),
    ]


@contextmanager
def _changed_meanwhile(engine: Engine, ticket_type: int) -> Iterator[None]:
    over = threading.Event()

    def change() -> None:
        next_at = time.monotonic()
        while not over.wait(max(0.0, next_at - time.monotonic())):
            with engine.begin() as connection:
                connection.execute(CHANGE, {"id": ticket_type})
            next_at += 1 / CHANGES_PER_SECOND

    with ThreadPoolExecutor(1) as thread:
        changing = thread.submit(change)
        try:
            yield
        finally:
            over.set()
            changing.result()
