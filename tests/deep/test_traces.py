"""Traces: a purchase is followed from the request through the wake-up to the decision."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import httpx
import pytest
import redis
from sqlalchemy import Engine

from shared.auth.mint_tokens import mint_tokens
from shared.config.settings import Settings
from shared.errors import ConfigurationError
from shared.free_port import free_port
from shared.observability.tracing import is_wanted, open_tracing
from tests.support.collector import Collector, a_collector
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_user,
    queue,
    request,
    rows,
    scalar,
    tamper,
)
from tests.support.services import PROJECT, environment, running_service
from tests.support.waiting import eventually
from tests.system.selling import WAIT, buy

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OF_A_PURCHASE = {
    *("POST /api/ticket-purchases/", "accept", "send purchases"),
    *("process purchases", "decide batch", "decide"),
}
Trading = Callable[[str], AbstractContextManager[httpx.Client]]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with a_collector() as collector:
        yield collector


@pytest.fixture
def trading(
    engine: Engine,
    settings: Settings,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> Trading:
    """A gateway and a worker that send their traces to an address; and a buyer."""

    @contextmanager
    def trading(collector_url: str) -> Iterator[httpx.Client]:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector_url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        with engine.begin() as connection:
            (token,) = mint_tokens(connection, settings, ["buyer"])
        gateway = Settings(**settings.model_dump() | {"gateway_port": free_port()})
        url = f"http://127.0.0.1:{gateway.gateway_port}"
        headers = {"Authorization": f"Bearer {token}"} | WAIT
        with (
            running_service("purchase_worker", settings),
            running_service("gateway", gateway, f"{url}/readyz"),
            httpx.Client(base_url=url, headers=headers, timeout=60, verify=False) as client,
        ):
            yield client

    return trading


def stored_traceparents(engine: Engine) -> list[str | None]:
    return [
        row[0]
        for row in rows(engine, "SELECT traceparent FROM requests WHERE kind = 'buy' ORDER BY seq")
    ]


def test_a_traced_purchase_is_one_trace_from_the_request_to_the_decision(
    engine: Engine, trading: Trading, collector: Collector
) -> None:
    ticket_type = add_ticket_type(engine, 10)
    with trading(collector.url) as buyer:
        bought = buy(buyer, ticket_type, 2, traceparent=f"00-{TRACE}-{SPAN}-01")
        assert bought.status_code == 201

        def all_has_come() -> None:
            assert collector.of_trace(TRACE).keys() == OF_A_PURCHASE

        eventually(all_has_come)
    spans = collector.of_trace(TRACE)
    asked, sent = spans["POST /api/ticket-purchases/"], spans["send purchases"]
    decided, batch = spans["decide"], spans["decide batch"]
    assert asked.parent_id == SPAN
    assert asked.attributes["http.response.status_code"] == 201
    assert spans["accept"].parent_id == sent.parent_id == decided.parent_id == asked.span_id
    assert spans["process purchases"].parent_id == sent.span_id
    assert batch.parent_id == spans["process purchases"].span_id
    assert (batch.links, decided.links) == ([asked.span_id], [batch.span_id])
    assert spans["accept"].attributes["eventify.verdict"] == "accepted"
    assert decided.attributes["eventify.outcome"] == "confirmed"
    purchases = {spans[name].attributes["eventify.purchase"] for name in ("accept", "decide")}
    assert purchases == {bought.json()["id"]}
    services = {spans[name].service for name in ("accept", "send purchases")}
    assert (services, decided.service) == ({"eventify-gateway"}, "eventify-worker")
    assert spans["accept"].seconds <= asked.seconds
    assert stored_traceparents(engine) == [f"00-{TRACE}-{asked.span_id}-01"]


def test_a_traced_confirmation_is_one_trace_up_to_its_decision(
    engine: Engine, trading: Trading, collector: Collector
) -> None:
    route = "/api/ticket-purchases/{id}/confirm/"
    with trading(collector.url) as owner:
        event = add_event(engine, scalar(engine, "SELECT id FROM users WHERE username = 'buyer'"))
        held = buy(owner, add_ticket_type(engine, 10, event_id=event, hold_seconds=60)).json()
        body = {"payment_reference": "pi", "amount": held["total_price"], "currency": "EUR"}
        headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
        paid = owner.post(route.replace("{id}", held["id"]), json=body, headers=headers)
        assert paid.status_code == 200
        decided = eventually(lambda: collector.of_trace(TRACE)["decide"], retry_on=KeyError)
        asked = eventually(lambda: collector.of_trace(TRACE)[f"POST {route}"], retry_on=KeyError)
        accepted = collector.of_trace(TRACE)["accept"]
    assert (asked.parent_id, asked.attributes["http.route"]) == (SPAN, route)
    assert accepted.parent_id == decided.parent_id == asked.span_id
    assert accepted.attributes["eventify.verdict"] == "accepted"
    assert decided.attributes["eventify.outcome"] == "confirmed"
    purchases = {span.attributes["eventify.purchase"] for span in (accepted, decided)}
    assert purchases == {held["id"]}


def test_who_samples_and_who_names_a_trace_is_the_clients_choice_if_it_is_well_formed(
    engine: Engine, trading: Trading, collector: Collector
) -> None:
    ticket_type = add_ticket_type(engine, 100)
    with trading(collector.url) as buyer:
        # Not sampled: it is not traced.
        assert buy(buyer, ticket_type, traceparent=f"00-{TRACE}-{SPAN}-00").status_code == 201
        assert stored_traceparents(engine) == [None]
        # None that can be read: a trace begins here.
        bad = ("", "nonsense", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01", "\u00e9" * 55)
        for traceparent in bad:
            headers = {"traceparent": traceparent.encode("latin-1")}
            body = {"ticket_type": ticket_type, "quantity": 1}
            assert buyer.post("/api/ticket-purchases/", json=body, headers=headers).is_success
    named = [traceparent for traceparent in stored_traceparents(engine)[1:] if traceparent]
    assert len({traceparent[3:35] for traceparent in named}) == len(bad)
    assert TRACE not in {span.trace_id for span in collector.spans}


def test_the_sweepers_decision_is_in_the_trace_too(
    engine: Engine, settings: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    queue(engine, [request(add_user(engine), add_ticket_type(engine, 10))])
    tamper(engine, f"UPDATE requests SET traceparent = '00-{TRACE}-{SPAN}-01' WHERE kind = 'buy'")
    with running_service("purchase_worker.sweep", settings):
        decided = eventually(lambda: collector.of_trace(TRACE)["decide"], retry_on=KeyError)
    assert (decided.parent_id, decided.service) == (SPAN, "eventify-sweeper")


def test_a_silent_collector_holds_up_neither_purchases_nor_a_stop(
    engine: Engine, trading: Trading
) -> None:
    ticket_type = add_ticket_type(engine, 10)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        # Both services are stopped at the end of the block, and have to keep to their time.
        with trading(f"http://127.0.0.1:{silent.getsockname()[1]}") as buyer:
            assert buy(buyer, ticket_type).status_code == 201
            assert None not in stored_traceparents(engine)


START_EVERYTHING = """
import sys
from gateway.app import create_app
from purchase_worker.runtime import Runtime
from shared.config.settings import get_settings

create_app(get_settings())
Runtime(get_settings(), "test")
tracing = {"shared.observability.spans", "opentelemetry.sdk.trace", "opentelemetry.exporter"}
print(tracing & sys.modules.keys())
"""


def test_without_a_collector_nothing_that_traces_is_loaded(settings: Settings) -> None:
    without = {name: value for name, value in environment(settings).items() if "OTEL" not in name}
    ran = subprocess.run(
        [sys.executable, "-c", START_EVERYTHING],
        env=without,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout == "set()\n"


@pytest.mark.parametrize(
    ("environment", "traces"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_a_collectors_address_turns_tracing_on(environment: dict[str, str], traces: bool) -> None:
    assert is_wanted(environment) is traces


def test_traces_without_their_library_are_a_mistake_of_the_operator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    monkeypatch.delitem(sys.modules, "shared.observability.spans", raising=False)
    with pytest.raises(ConfigurationError, match=r"extra `tracing`"):
        open_tracing("test")
