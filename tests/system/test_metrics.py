"""What on-call sees: one address tells of every process of the machine, exactly and always."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psutil
import pytest

from tests.support.figures import figures
from tests.support.observability import NAME, names_asked_for
from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.operators import an_operator
from tests.system.selling import WAIT, buy, put_on_sale

GATEWAYS = 2
SCRAPES = 8
BURST = 5


@pytest.fixture(scope="module")
def busy_shop() -> Iterator[Shop]:
    """Several processes of each kind."""
    with an_operator() as operator:
        operator.environment["EVENTIFY_PURCHASE_RATE_BURST"] = str(BURST)
        operator.environment["EVENTIFY_COUNTER_WATCH_SECONDS"] = "0.1"
        started = operator.up("--gateways", str(GATEWAYS), "--workers", "2")
        assert started.returncode == 0, started.stderr
        assert f"{operator.url}/metrics" in started.stdout
        with closing(Shop(operator)) as shop:
            yield shop


def told(shop: Shop) -> dict[str, float]:
    return figures(f"{shop.url}/metrics")


def since(before: dict[str, float], shop: Shop) -> dict[str, float]:
    """What was counted since then."""
    return {
        series: value - before.get(series, 0)
        for series, value in told(shop).items()
        if value != before.get(series, 0)
    }


def buys(status: int) -> str:
    labels = f'method="POST",route="/api/ticket-purchases/",service="gateway",status="{status}"'
    return f"eventify_http_requests_total{{{labels}}}"


def refused(code: str) -> str:
    return f'eventify_purchase_errors_total{{code="{code}"}}'


def decided(outcome: str) -> str:
    return f'eventify_purchases_decided_total{{outcome="{outcome}"}}'


def sell_three_of_four(shop: Shop, ticket_type: int) -> None:
    """Two confirmed, one rejected, one sold out at the door; each by a new connection."""
    wishes = [(3, 201), (3, 400), (1, 201), (1, 400)]
    for client, (quantity, status) in zip(shop.users(len(wishes)), wishes, strict=True):
        assert buy(client, ticket_type, quantity, **WAIT).status_code == status


def test_what_was_bought_is_told_exactly_whichever_gateway_answers(busy_shop: Shop) -> None:
    ticket_type = put_on_sale(busy_shop.user(), 4)
    before = told(busy_shop)

    sell_three_of_four(busy_shop, ticket_type)

    for _scrape in range(SCRAPES):  # each is a connection of its own
        counted = since(before, busy_shop)
        assert counted["eventify_purchases_accepted_total"] == 3
        assert counted[decided("confirmed")] == 2
        assert counted[decided("not_enough_tickets")] == 1
        assert counted[refused("not_enough_tickets")] == 1
        assert (counted[buys(201)], counted[buys(400)]) == (2, 2)
        assert counted["eventify_request_to_decision_seconds_count"] == 3
        assert 0 < counted["eventify_request_to_decision_seconds_sum"] < 60
        assert counted["eventify_accept_batch_rows_sum"] == 4
        assert counted["eventify_drain_batch_rows_sum"] == 3
        assert counted["eventify_wakeups_sent_total"] >= 1
    assert told(busy_shop)["eventify_clients_waiting"] == 0
    assert busy_shop.audit()["ok"]

    def is_checked() -> None:
        assert since(before, busy_shop)["eventify_audit_checked_total"] == 3

    eventually(is_checked)
    violations = {s: v for s, v in told(busy_shop).items() if "audit_violations" in s}
    assert len(violations) == 2
    assert not any(violations.values())


def test_who_asks_too_often_is_counted(busy_shop: Shop) -> None:
    (buyer,) = busy_shop.users(1)
    before = told(busy_shop)
    unknown_ticket_type = 10**9
    statuses = [buy(buyer, unknown_ticket_type).status_code for _ in range(3 * BURST)]
    refusals = statuses.count(429)
    assert refusals
    counted = since(before, busy_shop)
    assert counted['eventify_rate_limited_total{policy="purchases"}'] == refusals
    assert counted[refused("too_many_requests")] == counted[buys(429)] == refusals
    assert counted[refused("invalid")] == statuses.count(400)


def test_a_made_up_path_or_method_makes_no_series(busy_shop: Shop) -> None:
    before = told(busy_shop)
    for path in ("/wp-login.php", "/api/events/7/secret/", "/api/nothing/"):
        busy_shop.client().request("BREW", path)
        busy_shop.client().get(path)
    new = {series for series in since(before, busy_shop) if "http_requests" in series}
    assert new
    assert not any(made_up in series for series in new for made_up in ("wp-", "secret", "BREW"))


def test_what_a_killed_worker_child_counted_is_not_lost(busy_shop: Shop) -> None:
    ticket_type = put_on_sale(busy_shop.user(), 4)
    sell_three_of_four(busy_shop, ticket_type)
    counted = [decided("confirmed"), decided("not_enough_tickets")]
    before = told(busy_shop)
    workers = [
        psutil.Process(process["pid"])
        for process in busy_shop.operator.status()["processes"]
        if process["name"].startswith("worker-")
    ]
    children = [child for worker in workers for child in worker.children()]
    assert len(children) >= 2
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
    psutil.wait_procs(children)

    for _scrape in range(SCRAPES):
        after = told(busy_shop)
        assert [after[series] for series in counted] == [before[series] for series in counted]
    sell_three_of_four(busy_shop, put_on_sale(busy_shop.user(), 4))
    assert since(before, busy_shop)[decided("confirmed")] == 2


def test_every_metric_that_rules_and_dashboard_ask_for_is_told(busy_shop: Shop) -> None:
    names = {name for series in told(busy_shop) for name in NAME.findall(series)}
    asked_for = {name for name in names_asked_for() if ":" not in name}
    assert asked_for
    assert asked_for - names == set()


@contextmanager
def database_suspended(shop: Shop) -> Iterator[None]:
    """PostgreSQL is silent until the block ends: no line is cut, and nothing answers."""
    (postgres,) = (
        psutil.Process(process["pid"])
        for process in shop.operator.status()["processes"]
        if process["name"] == "postgres"
    )
    silent = [postgres, *postgres.children(recursive=True)]
    for process in silent:
        process.suspend()
    try:
        yield
    finally:
        for process in silent:
            process.resume()


def test_metrics_are_told_while_the_database_is_silent(busy_shop: Shop) -> None:
    read_at = "eventify_queue_read_timestamp_seconds"
    with database_suspended(busy_shop):
        during = [told(busy_shop) for _scrape in range(SCRAPES)]
        assert len({scrape["eventify_purchases_accepted_total"] for scrape in during}) == 1

    def database_tells_again() -> None:
        assert told(busy_shop)[read_at] > during[-1][read_at]

    eventually(database_tells_again)
