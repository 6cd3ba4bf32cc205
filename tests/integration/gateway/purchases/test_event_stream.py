"""A purchase followed as server-sent events, over HTTP from a real gateway process."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.free_port import free_port
from tests.support.event_streams import events_of
from tests.support.factories import (
    add_ticket_type,
    add_user,
    event_of,
    ignore,
    queue,
    queue_buy,
    request,
)
from tests.support.gateways import authorization, client_of, running_gateway
from tests.support.servers import new_database
from tests.support.services import running_service
from tests.support.waiting import eventually
from tests.support.wire import Wire
from tests.system.wire.talk import replies

EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def settings(postgres_url: str, valkey_url: str, keys_dir: Path) -> Iterator[Settings]:
    """Of one gateway for all tests here; each has a buyer of its own."""
    with new_database(postgres_url) as url:
        yield Settings(
            database_url=url,
            redis_url=valkey_url,
            keys_dir=keys_dir,
            answer_timeout_seconds=10.0,
            drain_max_seconds=60.0,
        )


@pytest.fixture
def buyer_id(engine: Engine) -> int:
    return add_user(engine)


@pytest.fixture
def buyer(settings: Settings, gateway_url: str, buyer_id: int) -> Iterator[httpx.Client]:
    with client_of(gateway_url, settings, buyer_id) as client:
        yield client


@pytest.fixture
def queued(engine: Engine, buyer_id: int) -> tuple[int, str]:
    """An event, and where a queued purchase of it is told."""
    ticket_type = add_ticket_type(engine, 5)
    (id_,) = queue(engine, [request(buyer_id, ticket_type)])
    return event_of(engine, ticket_type), f"/api/ticket-purchases/{id_}/"


def test_a_stream_reports_the_position_then_the_outcome_and_ends(
    engine: Engine, settings: Settings, buyer: httpx.Client, queued: tuple[int, str]
) -> None:
    event, path = queued
    with buyer.stream("GET", path, headers=EVENTS) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        events = events_of(answer.iter_lines())
        first = next(events)
        assert (first.event, first.retry) == ("position", 1000)
        assert json.loads(first.data)["position"] == 0
        drain(engine, [event], settings, ignore)
        (last,) = events
    assert (last.event, last.retry) == ("outcome", None)
    assert json.loads(last.data) == buyer.get(path).json()


def test_a_browser_that_comes_back_with_the_outcome_is_reported_to_stop(
    engine: Engine, settings: Settings, buyer: httpx.Client, queued: tuple[int, str]
) -> None:
    event, path = queued
    drain(engine, [event], settings, ignore)
    (outcome,) = events_of(buyer.get(path, headers=EVENTS).text.splitlines())
    again = buyer.get(path, headers=EVENTS | {"Last-Event-ID": outcome.id})
    assert (again.status_code, again.content) == (204, b"")
    assert again.headers["Cache-Control"] == "no-store"
    other = buyer.get(path, headers=EVENTS | {"Last-Event-ID": "00000000"})
    assert other.status_code == 200


def test_a_path_of_its_own_is_always_a_stream(
    engine: Engine, settings: Settings, buyer: httpx.Client, queued: tuple[int, str]
) -> None:
    event, path = queued
    drain(engine, [event], settings, ignore)
    answer = buyer.get(f"{path}events/", headers={"Accept": "application/json"})
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.text == buyer.get(path, headers=EVENTS).text
    (outcome,) = events_of(answer.text.splitlines())
    assert buyer.get(f"{path}events/", headers={"Last-Event-ID": outcome.id}).status_code == 204
    assert list(buyer.get(f"{path}events/?wait=1").json()["errors"]) == ["wait"]
    other = buyer.post(f"{path}events/")
    assert (other.status_code, other.headers["Allow"]) == (405, "GET, HEAD")
    for unknown in (f"{path}event/", f"{path}events/events/", "/api/ticket-purchases//events/"):
        assert buyer.get(unknown).status_code == 404


def test_head_of_a_stream_does_not_hold_the_connection(
    buyer: httpx.Client, queued: tuple[int, str]
) -> None:
    authorization = f"Authorization: {buyer.headers['Authorization']}"
    with closing(Wire(str(buyer.base_url))) as wire:
        line = wire.open()
        line.settimeout(10)
        head = wire.request("HEAD", queued[1], [authorization, "Accept: text/event-stream"])
        assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
        assert wire.request("GET", queued[1], [authorization]).json()["status"] == "queued"


def test_what_is_unknown_has_no_stream(buyer: httpx.Client) -> None:
    path = "/api/ticket-purchases/01a20375-b093-70f7-9ffe-a62a46181fc4/"
    refused = buyer.get(path, headers=EVENTS)
    assert refused.status_code == 404
    assert refused.headers["Content-Type"] == "application/problem+json"


def test_a_cancelled_call_makes_room_for_another(
    settings: Settings, buyer_id: int, queued: tuple[int, str]
) -> None:
    path = queued[1]

    def nobody_waits() -> None:
        assert "\neventify_clients_waiting 0.0\n" in buyer.get("/metrics").text

    with running_gateway(settings, user_id=buyer_id, waiting_max_rows=2) as buyer:
        waiting = HTTPConnection(buyer.base_url.host, buyer.base_url.port or 80, timeout=20)
        waiting.request("GET", f"{path}?wait=30", headers=dict(buyer.headers))
        with buyer.stream("GET", path, headers=EVENTS) as stream:
            events = events_of(stream.iter_lines())
            next(events)
            refused = buyer.get(path, headers=EVENTS)
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            # Nor can anyone wait: the answer comes at once.
            assert buyer.get(path, params={"wait": 30}).json()["status"] == "queued"
        waiting.close()
        eventually(nobody_waits)  # to try it would take the room, for as long as a FIN is looked at
        with (
            buyer.stream("GET", path, headers=EVENTS) as one,
            buyer.stream("GET", path, headers=EVENTS) as other,
        ):
            assert [one.status_code, other.status_code] == [200, 200]


def test_a_wait_for_a_held_purchase_that_is_cut_short_has_retry_after(
    engine: Engine, settings: Settings, buyer: httpx.Client, buyer_id: int
) -> None:
    ticket_type = add_ticket_type(engine, 5)
    id_ = queue_buy(engine, [(ticket_type, 1)], hold_seconds=600, user_id=buyer_id)
    drain(engine, [event_of(engine, ticket_type)], settings, ignore)
    path, long = f"/api/ticket-purchases/{id_}/", {"wait": 30}
    known = {"If-None-Match": buyer.get(path).headers["ETag"]}
    whole = buyer.get(path, params={"wait": 1}, headers=known)
    assert (whole.status_code, whole.headers.get("Retry-After")) == (304, None)
    with running_gateway(settings, user_id=buyer_id, waiting_max_rows=1) as client:
        waiting = HTTPConnection(client.base_url.host, client.base_url.port or 80, timeout=20)
        waiting.request("GET", f"{path}?wait=30", headers=dict(client.headers) | known)

        def one_waits() -> None:
            assert "\neventify_clients_waiting 1.0\n" in client.get("/metrics").text

        eventually(one_waits)
        too_many = client.get(path, params=long, headers=known)
        assert (too_many.status_code, too_many.headers.get("Retry-After")) == (304, "1")
        for answer in (client.get(path, params=long), client.get(path, headers=known)):
            assert "Retry-After" not in answer.headers
    with closing(waiting):  # at the stop
        stopped = waiting.getresponse()
    assert (stopped.status, stopped.headers["Retry-After"]) == (304, "1")


def test_a_head_without_end_is_not_read_while_another_request_is_answered(
    buyer: httpx.Client, queued: tuple[int, str]
) -> None:
    authorization = f"Authorization: {buyer.headers['Authorization']}"
    with closing(Wire(str(buyer.base_url))) as wire:
        line = wire.open()
        line.sendall(
            f"GET {queued[1]} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
            f"{authorization}\r\n\r\nGET / HTTP/1.1\r\nX: ".encode()
        )
        assert line.recv(15) == b"HTTP/1.1 200 OK"
        line.settimeout(1)
        with pytest.raises(TimeoutError):
            line.sendall(b"a" * 50_000_000)


@pytest.mark.parametrize(
    ("query", "lines", "probe"),
    [
        ("?wait=30", "", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "Accept: text/event-stream\r\n", b"\r\n0"),
    ],
    ids=["waiting", "following"],
)
def test_a_client_that_closed_its_sending_side_is_reported_the_outcome(
    engine: Engine,
    settings: Settings,
    buyer: httpx.Client,
    queued: tuple[int, str],
    query: str,
    lines: str,
    probe: bytes,
) -> None:
    event, path = queued
    head = f"GET {path}{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}"
    head += f"Authorization: {buyer.headers['Authorization']}\r\n\r\n"
    with closing(Wire(str(buyer.base_url))) as wire:
        line = wire.open()
        line.sendall(head.encode())
        line.shutdown(socket.SHUT_WR)
        came = b""
        while not came.endswith(probe):  # whether it still reads
            more = line.recv(65_536)
            assert more
            came += more
        drain(engine, [event], settings, ignore)
        came += b"".join(iter(lambda: line.recv(65_536), b""))
    (answer,) = replies(came)
    assert b'"status":"confirmed"' in answer.body


def test_a_stop_ends_streams_and_waits_cleanly(
    settings: Settings, buyer_id: int, queued: tuple[int, str]
) -> None:
    path = queued[1]
    settings = settings.model_copy(update={"gateway_port": free_port()})
    url = f"http://127.0.0.1:{settings.gateway_port}"
    headers = authorization(settings, buyer_id)
    waiting = HTTPConnection("127.0.0.1", settings.gateway_port, timeout=20)
    with running_service("gateway", settings, f"{url}/readyz") as process, closing(waiting):
        waiting.request("GET", f"{path}?wait=30", headers=headers)
        # What was sent before this stream began is under way when it tells its first event.
        with httpx.stream("GET", f"{url}{path}", headers=headers | EVENTS, timeout=20) as stream:
            events = events_of(stream.iter_lines())
            next(events)
            process.send_signal(signal.SIGTERM)
            # Not cut off: httpx would raise at a stream without its proper end.
            assert list(events) == []
        answer = waiting.getresponse()
        assert (answer.status, json.load(answer)["status"]) == (200, "queued")
        # Of its own will, with the signal's own exit code as uvicorn gives it.
        assert process.wait(timeout=10) == -signal.SIGTERM
