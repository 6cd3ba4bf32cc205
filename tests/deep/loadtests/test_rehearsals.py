"""Rehearsals by several processes: one report of all they saw, and one verdict."""

from collections.abc import Container
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec

from loadtests.recording.observations import ACCEPTED, Seen
from shared.free_port import free_port
from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.rehearsals import (
    LIMIT_SECONDS,
    SHORT,
    output_of,
    rehearsed_with_holds,
    request_counts,
    running,
)
from tests.system.selling import OnSale

LOCUST = ("locust", "--config", "loadtests/locust.conf")


def test_two_processes_rehearse_a_sale_and_leave_one_report_of_all_they_saw(
    shop: Shop, on_sale: OnSale, tmp_path: Path
) -> None:
    ticket_type = on_sale(capacity=1000)
    tokens, folder = tmp_path / "tokens", tmp_path / "report"
    tokens.write_text(shop.operator.run("token", "crowd", "--count", "40").stdout)
    arguments = [*SHORT, "--processes", "2", "--report-dir", str(folder)]
    arguments += ["--ticket-type", str(ticket_type), "--tokens", str(tokens)]
    with running(shop, "loadtests", *arguments) as process:
        assert "Verdict: good (exit code 0)" in output_of(process)

    counts = request_counts(folder / "locust")
    # The abuser was answered 429 with Retry-After, which is counted apart; newcomers signed in.
    assert counts["/api/ticket-purchases/ (abuser) [429, Retry-After]"] > 0
    assert counts["/api/ticket-purchases/ (same key)"] >= 2
    assert counts["/api/token/"] == 10
    assert counts["/api/ticket-types/[id]/"] > 0
    # Every buyer of an accepted purchase, or of one decided at once, stayed for the outcome; so did
    # the retrier, who does not poll.
    bought = counts["/api/ticket-purchases/"]
    waits = [counts[name] for name in ("request to decision", "request to decision, polled")]
    assert min(waits) > 0
    assert counts["polls per purchase (a count)"] == bought
    retried = sum(waits) - bought
    assert 1 <= retried <= counts["/api/ticket-purchases/ (same key)"] / 2
    # Locust's sum stays one of requests.
    outcomes = [counts[f"request to {outcome}"] for outcome in ("confirmed", "rejected")]
    assert sum(outcomes) == bought + retried
    of_the_sale = sum((*waits, *outcomes, counts["request to 202"], bought))
    assert 2 * counts["Aggregated"] == sum(counts.values()) - of_the_sale

    with shop.database() as rows:
        rows.execute(
            "SELECT r.id::text, r.idempotency_key IS NULL, e.kind FROM requests r"
            " LEFT JOIN ledger e ON e.event_id = r.event_id AND e.command_id = r.id"
            " WHERE r.ticket_type_id = %s AND r.kind = 'buy'",
            (ticket_type,),
        )
        purchases = rows.fetchall()
    assert {kind for _, _, kind in purchases} <= {"confirmed", "rejected"}
    # All that a worker saw is there, up to its last answer; only the abuser sends no key and does
    # not ask for outcomes.
    lines = (folder / "observations.jsonl").read_bytes().splitlines()
    seen = {msgspec.json.decode(line, type=Seen).id for line in lines}
    assert {id_ for id_, is_abusers, _ in purchases if not is_abusers} <= seen
    assert seen <= {id_ for id_, _, _ in purchases}
    summary: dict[str, Any] = msgspec.json.decode((folder / "summary.json").read_bytes())
    assert summary["ticket_types"] == [ticket_type]
    assert summary["verdict"]["checked"]["every purchase answered with 202 is decided"] > 0
    assert len((folder / "moments.csv").read_text().splitlines()) > 4
    assert (folder / "sale.png").read_bytes().startswith(b"\x89PNG")
    assert "Locust" in (folder / "locust.html").read_text()

    # A later check finds what is wrong by then.
    with (folder / "observations.jsonl").open("ab") as observations:
        observations.write(msgspec.json.encode(Seen(id="0" * 32, status=ACCEPTED)) + b"\n")
    with running(shop, "loadtests.verdict.check", str(folder)) as process:
        assert "has no row" in output_of(process, exit_code=2)


def test_an_organisers_own_ticket_type_is_paid_with_his_key(
    shop: Shop, organiser: httpx.Client, on_sale: OnSale, tmp_path: Path
) -> None:
    held = ("--ticket-type", str(on_sale(capacity=200, hold_seconds=30)))
    key = organiser.post("/api/keys/", json={"name": "rehearsal", "scopes": ["payments"]})
    paid = rehearsed_with_holds(
        *(shop, tmp_path, *held, "--processes", "2"),
        *("--payments-key", key.json()["key"]),
    )
    assert paid["answers"]["paid"] > 0
    assert b"evk_" not in (tmp_path / "run.json").read_bytes()


def test_two_workers_share_the_buyers_and_their_master_shows_the_sale(
    shop: Shop, tmp_path: Path
) -> None:
    master_port, web_port = str(free_port()), str(free_port())
    master_arguments = [
        *("--master", "--master-bind-port", master_port, "--expect-workers", "2"),
        *("--autostart", "--autoquit", "600", "--web-port", web_port, "--host", shop.url),
        *(*SHORT, "--event-capacity", "1000", "--csv", str(tmp_path / "run"), "Browser", "Buyer"),
        *("--run-time", "6s", "--database-url", shop.database_url),
        *("--report-dir", str(tmp_path / "report")),
    ]

    def shows(what: str, values: Container[object]) -> None:
        shown = httpx.get(f"http://127.0.0.1:{web_port}/stats/requests").json()
        sale = {row["what"]: row["now"] for row in shown["extended_stats"][0]["data"]}
        assert sale[what] in values

    some = range(1, 1000)
    with ExitStack() as ending:
        for _ in range(2):
            worker = running(shop, *LOCUST, "--worker", "--master-port", master_port)
            ending.enter_context(worker)
        master = ending.enter_context(running(shop, *LOCUST, *master_arguments))
        eventually(
            partial(shows, "Tickets left", some),
            retry_on=(AssertionError, httpx.TransportError),
            within_seconds=LIMIT_SECONDS,
        )
        # A worker reports its figures every three seconds.
        eventually(partial(shows, "Decisions per second, as buyers saw them", some))
        eventually(partial(shows, "Accepted with 202", some))
        eventually(partial(shows, "Verdict", ("good (exit code 0)",)), within_seconds=LIMIT_SECONDS)
        shows("Tickets sold", some)
        shows("Report", (str(tmp_path / "report"),))
        page = httpx.get(f"http://127.0.0.1:{web_port}/sale").text
        assert "good (exit code 0)" in page
        assert "<polyline" in page
        master.terminate()
        output_of(master)

    with shop.database() as rows:
        rows.execute(
            "SELECT count(*), count(DISTINCT user_id) FROM requests"
            " WHERE kind = 'buy' AND event_id = (SELECT max(id) FROM events)"
        )
        purchases, buyers = rows.fetchone()
    # What both saw until the end is in the master's figures.
    assert request_counts(tmp_path / "run")["/api/ticket-purchases/"] == purchases
    # No two of the 19 buyers had one token between them.
    assert buyers == 19
