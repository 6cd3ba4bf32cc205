"""Rehearsals of an on-sale: real Locust processes against a shop that is open."""

import csv
import subprocess
import sys
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest

from deploy.local.servers.embedded import free_port
from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.operators import PROJECT
from tests.system.selling import OnSale

LOCUST = (sys.executable, "-m", "locust", "--config", "loadtests/locust.conf")
# A rehearsal here takes seconds; what hangs fails.
LIMIT_SECONDS = 60
SHORT = ("--users", "16", "--spike-users", "24", "--quiet-seconds", "1", "--run-time", "4s")

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(shop: Shop, tmp_path: Path) -> Iterator[Start]:
    """Starts Locust with these arguments, for as long as the test lasts."""
    with ExitStack() as ending:

        def start_locust(*arguments: str) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [*LOCUST, "--host", shop.url, "--report-dir", str(tmp_path / "report"), *arguments],
                cwd=PROJECT,
                env=shop.operator.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            ending.enter_context(process)
            ending.callback(process.kill)
            return process

        yield start_locust


def ended_well(process: "subprocess.Popen[str]") -> None:
    output, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, output


def statistics(csv_prefix: Path) -> dict[str, Mapping[str, str]]:
    """Locust's rows by name."""
    with Path(f"{csv_prefix}_stats.csv").open() as rows:
        return {row["Name"]: row for row in csv.DictReader(rows)}


def count(rows: Mapping[str, Mapping[str, str]], name: str) -> int:
    return int(rows[name]["Request Count"]) if name in rows else 0


def purchases(shop: Shop, ticket_type: int, status: str = "%") -> int:
    with shop.database() as rows:
        rows.execute(
            "SELECT count(*) FROM ticket_purchases WHERE ticket_type_id = %s AND status LIKE %s",
            (ticket_type, status),
        )
        return int(rows.fetchone()[0])


def test_everybody_of_a_rehearsal_does_what_they_are_there_for(
    start: Start, shop: Shop, on_sale: OnSale, tmp_path: Path
) -> None:
    ticket_type = on_sale(capacity=1000)
    tokens = tmp_path / "tokens"
    tokens.write_text(shop.operator.run("token", "crowd", "--count", "40").stdout)
    arguments = ("--ticket-type", str(ticket_type), "--tokens", str(tokens))
    ended_well(start("--headless", *SHORT, *arguments, "--csv", str(tmp_path / "run")))

    rows = statistics(tmp_path / "run")
    assert {row["Failure Count"] for row in rows.values()} == {"0"}
    # The abuser was refused and told when, which is counted apart; newcomers signed in.
    assert count(rows, "/api/ticket-purchases/ (abuser) [429, told when]") > 0
    assert count(rows, "/api/ticket-purchases/ (same key)") >= 2
    assert count(rows, "/api/token/") == 10
    assert count(rows, "/api/ticket-types/[id]/") > 0
    # Whoever was answered 202 or told the outcome at once stayed until it was known.
    bought = count(rows, "/api/ticket-purchases/")
    heard = [count(rows, name) for name in ("request to decision", "request to decision, polled")]
    assert min(heard) > 0
    assert sum(heard) == count(rows, "polls per purchase (a count)") == bought
    # Locust's sum stays one of requests.
    outcomes = [count(rows, f"request to {outcome}") for outcome in ("confirmed", "rejected")]
    assert sum(outcomes) == bought
    ours = (*heard, *outcomes, count(rows, "request to 202"), bought)
    assert count(rows, "Aggregated") == sum(
        int(row["Request Count"]) for name, row in rows.items() if name != "Aggregated"
    ) - sum(ours)
    assert purchases(shop, ticket_type, "queued") == 0


def test_two_workers_share_the_buyers_and_their_master_shows_the_sale(
    start: Start, shop: Shop, tmp_path: Path
) -> None:
    master_port, web_port = str(free_port()), str(free_port())
    for _ in range(2):
        start("--worker", "--master-port", master_port)
    master = start(
        *("--master", "--master-bind-port", master_port, "--expect-workers", "2"),
        *("--autostart", "--autoquit", "600", "--web-port", web_port),
        *(*SHORT, "--event-capacity", "1000", "--csv", str(tmp_path / "run"), "Browser", "Buyer"),
        *("--run-time", "6s", "--database-url", shop.database_url),
    )

    def shows(what: str, values: Container[object]) -> None:
        shown = httpx.get(f"http://127.0.0.1:{web_port}/stats/requests").json()
        sale = {row["what"]: row["now"] for row in shown["extended_stats"][0]["data"]}
        assert sale[what] in values

    eventually(
        partial(shows, "Tickets left", range(1, 1000)),
        retry_on=(AssertionError, httpx.TransportError),
        within_seconds=LIMIT_SECONDS,
    )
    # A worker reports its figures every three seconds.
    eventually(partial(shows, "Decisions a second, as buyers heard them", range(1, 1000)))
    eventually(partial(shows, "Accepted with 202", range(1, 1000)))
    eventually(partial(shows, "Verdict", ("good (exit code 0)",)), within_seconds=LIMIT_SECONDS)
    shows("Tickets sold", range(1, 1000))
    shows("Report", (str(tmp_path / "report"),))
    page = httpx.get(f"http://127.0.0.1:{web_port}/sale").text
    assert "good (exit code 0)" in page
    assert "<polyline" in page
    master.terminate()
    ended_well(master)

    with shop.database() as database:
        database.execute("SELECT max(id) FROM ticket_types")
        (ticket_type,) = database.fetchone()
        database.execute(
            "SELECT count(DISTINCT user_id) FROM ticket_purchases WHERE ticket_type_id = %s",
            (ticket_type,),
        )
        (buyers,) = database.fetchone()
    rows = statistics(tmp_path / "run")
    assert {row["Failure Count"] for row in rows.values()} == {"0"}
    # What both saw until the end is in the master's figures.
    assert count(rows, "/api/ticket-purchases/") == purchases(shop, ticket_type)
    # No two of the 19 buyers had one token between them.
    assert buyers == 19
