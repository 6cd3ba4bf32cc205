"""The figures of README.md and docs/*.md, from docs/benchmark.json. Pure.

A figure stands between `<!-- bench NAME -->` and `<!-- end -->`, where NAME is a figure's, or
`table:` and a table's. `unrecorded:` in place of `table:` keeps what is written until all figures
of that table are in the file.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from loadtests.bench.report.figures import Bound, as_read
from loadtests.bench.report.published import Published, PublishedFigure
from shared.errors import ConfigurationError

BLOCK = re.compile(r"<!-- bench (?P<name>\S+) -->(?P<content>.*?)<!-- end -->", re.DOTALL)
TABLE, UNRECORDED = "table:", "unrecorded:"


class Row(NamedTuple):
    """One line of a table; figures of the same unit stand in one cell."""

    label: str
    figures: tuple[str, ...]


class Table(NamedTuple):
    rows: tuple[Row, ...]
    # For readers who want no spread and no targets.
    brief: str = ""


def _latencies(rate: int, until: str) -> Row:
    name = f"latency_at_{rate}_per_second_until_{until}"
    return Row(
        f"{rate:,}/s offered, request to {until}: p50, p99, p99.9",
        tuple(f"{name}_{field}" for field in ("p50_ms", "p99_ms", "p999_ms")),
    )


def _row(label: str, *figures: str) -> Row:
    return Row(label, figures)


STRAIGHTFORWARD = "straightforward_two_processes_purchases_per_second"
ONE, NEW, CARTS, TYPES, EVENTS = (
    f"eventify_{name}_purchases_per_second"
    for name in (
        *("one_ticket_type", "new_tokens", "carts", "ticket_types_of_one_event"),
        "many_events",
    )
)
GATEWAY, WORKER = ("gateway", "gateway"), ("worker", "worker")
POSTGRESQL, VALKEY = ("PostgreSQL", "postgres"), ("Valkey", "valkey")
ACCEPTING = (GATEWAY, POSTGRESQL, VALKEY)
TABLES: Mapping[str, Table] = {
    "readme": Table(
        (
            _row(
                "a straightforward design (FastAPI, `SELECT ... FOR UPDATE`), two processes",
                STRAIGHTFORWARD,
            ),
            _row("Eventify: accepted durably and decided, one hot event", ONE),
            _row("Eventify, a new token on each request", NEW),
            _row("Eventify, carts of three ticket types", CARTS),
            _row("Eventify, 1,000 ticket types of one event", TYPES),
            _row("Eventify, 1,000 events at once", EVENTS),
        ),
        brief="purchases a second",
    ),
    "whole": Table(
        (
            _row("accepted and decided, one hot event", ONE),
            _row("the straightforward design, two processes", STRAIGHTFORWARD),
            _row("the first against the second", "eventify_against_straightforward_times"),
            _row("a new token on each request", NEW),
            _row("carts of three lines, of one line", "eventify_carts_of_one_percent"),
            _row(
                "1,000 ticket types of one event, of one",
                "eventify_ticket_types_of_one_event_of_one_percent",
            ),
            _row(
                "1,000 ticket types of 1,000 events, of one", "eventify_many_events_of_one_percent"
            ),
            *(
                _row(
                    f"with {millions} million purchases stored, of few",
                    f"growth_{millions}000000_stored_of_few_percent",
                )
                for millions in (1, 5)
            ),
            _row(
                "the gateway with 100,000 queued before it, of none",
                "growth_gateway_100000_queued_before_of_none_percent",
            ),
            _row(
                "bare ASGI function, two processes", "bare_asgi_two_processes_requests_per_second"
            ),
            _row("bare ASGI function, one process", "bare_asgi_one_process_requests_per_second"),
            _row("the gateway alone", "gateway_accept_requests_per_second"),
            _row("the same, of the bare function", "gateway_accept_of_bare_percent"),
            _row(
                "the gateway alone, a new token on each request",
                "gateway_accept_new_tokens_requests_per_second",
            ),
            _row("the same, of the bare function", "gateway_accept_new_tokens_of_bare_percent"),
            _row("polling decided purchases", "gateway_poll_decided_requests_per_second"),
            _row("the same, of the bare function", "gateway_poll_decided_of_bare_percent"),
            _row("polling queued purchases", "gateway_poll_queued_requests_per_second"),
            _row("the same, of the bare function", "gateway_poll_queued_of_bare_percent"),
            _row("decisions of one hot event, without publishing", "drain_decisions_per_second"),
            _row("the same, of its SQL alone", "drain_of_sql_alone_percent"),
            _row("decisions with their results published", "drain_publishing_decisions_per_second"),
            _row(
                "a decided purchase in the database, with indexes",
                "storage_bytes_of_a_decided_purchase",
            ),
            _row(
                "the drain after 1 million purchases without a vacuum, of fresh",
                "storage_drain_without_a_vacuum_of_fresh_percent",
            ),
            _row(
                "100,000 queued of a sold-out event rejected",
                "sold_out_backlog_of_100000_rejected_seconds",
            ),
            _latencies(200, "decided"),
            _latencies(500, "decided"),
            _latencies(1_000, "accepted"),
            _latencies(1_000, "decided"),
            _latencies(2_000, "decided"),
            _row(
                "memory of a gateway, before it has 10,000 long-polls", "gateway_memory_before_mib"
            ),
            _row("with them", "gateway_memory_with_10000_waiting_mib"),
        )
    ),
    "tails": Table(
        (
            *(
                _row(
                    f"{rate:,}/s offered, request to decided: p99, p99.9; a bare COMMIT's p99",
                    *(
                        f"tails_at_{rate}_per_second_{key}_ms"
                        for key in ("p99", "p999", "commit_p99")
                    ),
                )
                for rate in (200, 500, 1_000, 2_000)
            ),
            *(
                _row(
                    f"{rate:,}/s, the worst round's {percentile} less twice its COMMIT's p99",
                    f"tails_at_{rate}_per_second_{key}_above_commits_ms",
                )
                for rate in (200, 1_000, 2_000)
                for percentile, key in (("p99", "p99"), ("p99.9", "p999"))
            ),
            *(
                _row(
                    f"{rate:,}/s, p99 in seconds without a stall of the machine",
                    f"tails_at_{rate}_per_second_calm_p99_ms",
                )
                for rate in (200, 1_000)
            ),
        )
    ),
    "costs": Table(
        tuple(
            _row(
                f"{what}: {', '.join(label for label, _ in services)}",
                *(f"{name}_cpu_of_{service}_us" for _, service in services),
            )
            for what, name, services in (
                ("accepted, no worker running", "gateway_accept", ACCEPTING),
                ("the same with a new token", "gateway_accept_new_tokens", ACCEPTING),
                ("poll of a queued purchase", "gateway_poll_queued", ACCEPTING),
                ("poll of a decided purchase", "gateway_poll_decided", ACCEPTING),
                ("decision of a long queue", "drain_publishing", (WORKER, POSTGRESQL)),
                (
                    "accepted and decided, nothing queued up",
                    "eventify_one_ticket_type",
                    (GATEWAY, WORKER, POSTGRESQL, VALKEY),
                ),
            )
        )
    ),
    "wal": Table(
        (
            _row(
                "WAL of a purchase, the first 5,000 after a checkpoint",
                "wal_bytes_of_a_purchase_after_a_checkpoint",
            ),
            _row("WAL of a purchase, when 45,000 came before", "wal_bytes_of_a_purchase"),
        )
    ),
    "holds": Table(
        (
            _row("held purchases accepted and decided, of plain ones", "held_of_plain_percent"),
            _row("payments confirmed, decided and answered", "confirmations_per_second"),
            _row(
                "500 confirmed a second while others buy: p50, p99",
                "confirmation_p50_ms",
                "confirmation_p99_ms",
            ),
            _row(
                "10,000 holds of one second, back on sale after the last is due",
                "10000_holds_expired_seconds",
            ),
        )
    ),
    "webhooks": Table(
        (
            *(
                _row(
                    f"1,000 purchases/s {how}, until decided: p50, p99",
                    f"webhooks_{kind}_p50_ms",
                    f"webhooks_{kind}_p99_ms",
                )
                for how, kind in (
                    ("without webhooks", "without"),
                    ("with 100 webhooks, half of them hanging", "with"),
                )
            ),
            _row("p99 with webhooks, of that without", "webhooks_p99_with_of_without_percent"),
            _row(
                "p99 with webhooks, of that with requests from elsewhere",
                "webhooks_p99_with_of_receivers_alone_percent",
            ),
            _row(
                "CPU of a sender for 1,000 purchases to 50 receivers", "webhooks_cpu_of_sender_ms"
            ),
            _row(
                "CPU of PostgreSQL for them, with and without webhooks",
                "webhooks_cpu_of_postgres_with_ms",
                "webhooks_cpu_of_postgres_without_ms",
            ),
            _row("until all receivers have the last entry", "webhooks_lag_seconds"),
        )
    ),
    "reads": Table(
        (
            _row("bare ASGI function, one process", "bare_asgi_reads_per_second"),
            *(
                _row(f"{what}, of the bare function", f"{name}_reads_of_bare_percent")
                for what, name in (
                    ("a page", "page"),
                    ("a published sale", "sale"),
                    ("a published sale, not modified", "sale_not_modified"),
                    ("an event", "event"),
                    ("a ticket type", "ticket_type"),
                    ("a ticket type that changes 50 times a second", "changing_ticket_type"),
                )
            ),
        )
    ),
}
MET = {True: "met", False: "missed", None: ""}
UNITS = {"/s": "/s", "B": " bytes"}


def filled(text: str, published: Published) -> str:
    """The text of a document with all of its figures as published.

    Raises:
        ConfigurationError: it has a figure or a table that is not published.
    """
    return BLOCK.sub(lambda block: _block(block, published), text)


def _block(block: re.Match[str], published: Published) -> str:
    name = block["name"]
    kind, _, table_name = name.partition(":")
    if f"{kind}:" not in (TABLE, UNRECORDED):
        return _marked(name, _value(_figure(name, published)))
    if table_name not in TABLES:
        raise ConfigurationError(f"The benchmark has no table {table_name}.")
    table = TABLES[table_name]
    missing = {each for row in table.rows for each in row.figures} - published.figures.keys()
    if missing and kind == "unrecorded":
        return block[0]
    return _marked(f"{TABLE}{table_name}", f"\n{_table(table, published)}\n")


def _marked(name: str, content: str) -> str:
    return f"<!-- bench {name} -->{content}<!-- end -->"


def _figure(name: str, published: Published) -> PublishedFigure:
    if name not in published.figures:
        raise ConfigurationError(f"docs/benchmark.json has no figure {name}.")
    return published.figures[name]


def _table(table: Table, published: Published) -> str:
    rows = [(row.label, [_figure(name, published) for name in row.figures]) for row in table.rows]
    if table.brief:
        lines = [f"| | {table.brief} |", "| --- | --- |"]
        lines += [f"| {label} | {_roughly(figure.median)} |" for label, (figure,) in rows]
        return "\n".join(lines)
    runs = sorted({figure.run for _, figures in rows for figure in figures})
    lines = [_where(run, published) for run in runs]
    lines += ["", "| what | median (lowest-highest) | CPU of the servers, each | target | |"]
    lines.append("| --- | --- | --- | --- | --- |")
    lines += [" ".join((f"| {label} |", *_cells(figures))) for label, figures in rows]
    return "\n".join(lines)


def _where(at: str, published: Published) -> str:
    run = published.runs[at]
    return (
        f"Measured on {at[:10]} at {at[11:16]} UTC, commit `{run.commit[:7]}`, {run.cores} cores"
        f" ({run.cpu_model}), Python {run.python}, PostgreSQL {run.postgresql}:"
    )


def _cells(figures: list[PublishedFigure]) -> list[str]:
    targets = [figure for figure in figures if figure.target is not None]
    cells = (
        ", ".join(_with_spread(figure) for figure in figures),
        ", ".join(f"{figure.cpu_us:,.0f} us" for figure in figures if figure.cpu_us is not None),
        ", ".join(_target(figure) for figure in targets),
        ", ".join(_met(figure) for figure in targets),
    )
    return [f"{cell} |".lstrip() for cell in cells]


def _value(figure: PublishedFigure) -> str:
    return f"{as_read(figure.median)}{UNITS.get(figure.unit, f' {figure.unit}')}"


def _with_spread(figure: PublishedFigure) -> str:
    if figure.rounds == 1:
        return _value(figure)
    return f"{_value(figure)} ({as_read(figure.low)}-{as_read(figure.high)})"


def _target(figure: PublishedFigure) -> str:
    assert figure.target is not None
    sign = ">=" if figure.target.bound is Bound.AT_LEAST else "<="
    return f"{sign} {figure.target.value:,g}{UNITS.get(figure.unit, f' {figure.unit}')}"


def _met(figure: PublishedFigure) -> str:
    assert figure.target is not None
    return MET[figure.target.is_met_by(figure.median)]


def _roughly(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}"
