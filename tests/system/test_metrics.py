"""One address serves the metrics of every process of the machine, exactly and always."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.support.figures import figures
from tests.support.observability import NAME, names_asked_for
from tests.support.waiting import eventually
from tests.system.conftest import PURCHASE_RATE_BURST, Shop
from tests.system.selling import PURCHASES, WAIT, buy, put_on_sale

SCRAPES = 8


def metrics(shop: Shop) -> dict[str, float]:
    return figures(f"{shop.url}/metrics")


def since(before: dict[str, float], shop: Shop) -> dict[str, float]:
    """What was counted since then."""
    return {
        series: value - before.get(series, 0)
        for series, value in metrics(shop).items()
        if value != before.get(series, 0)
    }


def buys(status: int) -> str:
    labels = f'method="POST",route="/api/ticket-purchases/",service="gateway",status="{status}"'
    return f"eventify_http_requests_total{{{labels}}}"


def refused(code: str) -> str:
    return f'eventify_purchase_errors_total{{code="{code}"}}'


def resolved(action: str, outcome: str) -> str:
    return f'eventify_resolutions_total{{action="{action}",outcome="{outcome}"}}'


def decided(outcome: str) -> str:
    return f'eventify_purchases_decided_total{{outcome="{outcome}"}}'


def sell_three_of_four(shop: Shop, ticket_type: int) -> None:
    """Two confirmed, one rejected, one sold out at the door; each by a new connection."""
    wishes = [(3, 201), (3, 400), (1, 201), (1, 400)]
    for client, (quantity, status) in zip(shop.users(len(wishes)), wishes, strict=True):
        assert buy(client, ticket_type, quantity, **WAIT).status_code == status


def test_purchases_are_counted_exactly_whichever_gateway_answers(large_shop: Shop) -> None:
    before = metrics(large_shop)
    ticket_type = put_on_sale(large_shop.user(), 4)

    sell_three_of_four(large_shop, ticket_type)

    for _scrape in range(SCRAPES):  # each is a connection of its own
        counted = since(before, large_shop)
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
    assert metrics(large_shop)["eventify_clients_waiting"] == 0
    assert large_shop.audit()["ok"]

    def is_checked() -> None:
        # The tickets were issued, and three requests were decided. Each sweeper checks them, also
        # with what came before.
        assert since(before, large_shop).get("eventify_audit_checked_total", 0) >= 4

    eventually(is_checked)
    violations = {s: v for s, v in metrics(large_shop).items() if "_audit_violations_total" in s}
    assert len(violations) == 2
    assert not any(violations.values())


def test_what_becomes_of_holds_is_counted_by_action_and_outcome(large_shop: Shop) -> None:
    owner = large_shop.user()
    held = buy(owner, put_on_sale(owner, 4, hold_seconds=600), **WAIT).json()
    payment = {"amount": held["total_price"], "currency": held["currency"]}
    before = metrics(large_shop)
    for reference in ("pi_1", "pi_1", "pi_2"):
        body = payment | {"payment_reference": reference}
        owner.post(f"{PURCHASES}{held['id']}/confirm/", json=body)
    owner.post(f"{PURCHASES}{held['id']}/cancel/", json={})
    counted = {s: n for s, n in since(before, large_shop).items() if "resolutions" in s}
    assert counted == {
        resolved("confirm", "decided"): 2,
        resolved("confirm", "already_confirmed"): 1,
        resolved("cancel", "invalid"): 1,
    }


def test_rate_limited_requests_are_counted(large_shop: Shop) -> None:
    (buyer,) = large_shop.users(1)
    before = metrics(large_shop)
    unknown_ticket_type = 10**9
    statuses = [buy(buyer, unknown_ticket_type).status_code for _ in range(3 * PURCHASE_RATE_BURST)]
    refusals = statuses.count(429)
    assert refusals
    counted = since(before, large_shop)
    assert counted['eventify_rate_limited_total{policy="purchases"}'] == refusals
    assert counted[refused("too_many_requests")] == counted[buys(429)] == refusals
    assert counted[refused("invalid")] == statuses.count(400)


def test_a_made_up_path_or_method_makes_no_series(large_shop: Shop) -> None:
    before = metrics(large_shop)
    for path in ("/wp-login.php", "/api/events/7/secret/", "/api/nothing/"):
        large_shop.client().request("BREW", path)
        large_shop.client().get(path)
    new = {series for series in since(before, large_shop) if "http_requests" in series}
    assert new
    assert not any(made_up in series for series in new for made_up in ("wp-", "secret", "BREW"))


def test_what_a_killed_worker_child_counted_is_not_lost(large_shop: Shop) -> None:
    ticket_type = put_on_sale(large_shop.user(), 4)
    sell_three_of_four(large_shop, ticket_type)
    counted = [decided("confirmed"), decided("not_enough_tickets")]
    before = metrics(large_shop)
    workers = [
        psutil.Process(process["pid"])
        for process in large_shop.operator.status()["processes"]
        if process["name"].startswith("worker-")
    ]
    children = [child for worker in workers for child in worker.children()]
    assert len(children) >= 2
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
    psutil.wait_procs(children)

    for _scrape in range(SCRAPES):
        after = metrics(large_shop)
        assert [after[series] for series in counted] == [before[series] for series in counted]
    sell_three_of_four(large_shop, put_on_sale(large_shop.user(), 4))
    assert since(before, large_shop)[decided("confirmed")] == 2


def test_every_metric_that_rules_and_dashboard_query_exists(large_shop: Shop) -> None:
    names = {name for series in metrics(large_shop) for name in NAME.findall(series)}
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


def test_metrics_are_served_while_the_database_does_not_answer(large_shop: Shop) -> None:
    read_at = "eventify_queue_read_timestamp_seconds"
    with database_suspended(large_shop):
        during = [metrics(large_shop) for _scrape in range(SCRAPES)]
        assert len({scrape["eventify_purchases_accepted_total"] for scrape in during}) == 1

    def database_is_read_again() -> None:
        assert metrics(large_shop)[read_at] > during[-1][read_at]

    eventually(database_is_read_again)
