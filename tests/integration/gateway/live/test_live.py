"""Live figures of a running gateway, as its owner sees them."""

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from gateway.live import refusals, sampler
from gateway.live.figures import written
from gateway.live.refusal_store import COMPACT_ROWS
from gateway.live.service import EVENTS_OF_USER_MAX, Live
from purchase_worker.audit.runner import AuditRunner
from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.errors import PermissionDenied, Unavailable
from shared.free_port import free_port
from tests.support.event_streams import events_of
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_user,
    ignore,
    issue,
    queue_buy,
    queue_many,
    queue_resolution,
    run,
    scalar,
)
from tests.support.gateways import authorization, client_of, running_gateway
from tests.support.servers import new_database, unreachable
from tests.support.services import running_service
from tests.support.waiting import eventually

EVENTS = {"Accept": "text/event-stream"}
WATCHERS = 200
NO_REDIS = "redis://127.0.0.1:1/0"


class Sale:
    """Of two ticket types, with what can happen in it."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.owner = add_user(engine)
        self.event = add_event(engine, self.owner)
        self.standing = add_ticket_type(engine, 5, event_id=self.event)
        self.seated = add_ticket_type(engine, 10, event_id=self.event, name="Seated")
        self.path = f"/api/events/{self.event}/live/"

    def decide(self) -> None:
        drain(self.engine, [self.event], self.settings, ignore)

    def happen(self) -> None:
        """5 standing are sold and 2 rejected; 3 seated are held, of which 1 is paid and 1 comes
        back; 4 seated are queued, and 1 is issued."""
        queue_many(self.engine, self.standing, 7)
        holds = [queue_buy(self.engine, [(self.seated, 1)], hold_seconds=600) for _ in range(3)]
        self.decide()
        queue_resolution(self.engine, "confirm", holds[0], payment_reference=f"p{self.event}")
        queue_resolution(self.engine, "release", holds[1])
        self.decide()
        issue(self.engine, self.seated, 1)
        queue_many(self.engine, self.seated, 4)


@pytest.fixture(scope="module")
def settings(postgres_url: str, valkey_url: str, keys_dir: Path) -> Iterator[Settings]:
    """Of one gateway for all tests here, which has no Redis; each has a sale of its own."""
    with new_database(postgres_url) as url:
        yield Settings(
            database_url=url,
            redis_url=NO_REDIS,
            keys_dir=keys_dir,
            feed_rate_burst=0,
            list_rate_burst=0,
            purchase_rate_burst=0,
            answer_timeout_seconds=10.0,
            drain_max_seconds=60.0,
        )


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> Sale:
    return Sale(engine, settings)


@pytest.fixture
def owner(sale: Sale, settings: Settings, gateway_url: str) -> Iterator[httpx.Client]:
    with client_of(gateway_url, settings, sale.owner) as client:
        yield client


def figures(found: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(found[name] for name in names)


TICKETS = ("issued", "left", "held", "confirmed")
OLD_REFUSALS = f"""
INSERT INTO edge_refusals
SELECT :id, now() - interval '7 hours' - n * interval '2 s', 2, 'sale_paused', 1
FROM generate_series(1, {COMPACT_ROWS + 10}) n
"""
SWITCH = """
UPDATE ticket_types SET paused_at = CASE WHEN :paused THEN clock_timestamp() END WHERE id = :id
"""


def test_the_figures_are_those_of_the_sale(sale: Sale, owner: httpx.Client) -> None:
    sale.happen()
    answer = owner.get(sale.path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    live = answer.json()
    standing, seated = live["ticket_types"]
    assert figures(standing, *TICKETS, "state", "queued") == (5, 0, 0, 5, "sold_out", 0)
    assert figures(seated, *TICKETS, "state", "queued") == (11, 9, 1, 1, "on_sale", 4)
    assert 0 < seated["oldest_queued_seconds"] < 60
    assert figures(live, *TICKETS, "queued") == (16, 9, 1, 6, 4)
    assert live["refusals"] == {"not_enough_tickets": 2}
    assert 0 <= live["p50_seconds"] <= live["p99_seconds"] < 60
    assert figures(live, "event", "stale", "webhooks", "audit") == (sale.event, False, None, None)


def test_a_stream_has_a_sample_a_second(sale: Sale, owner: httpx.Client) -> None:
    with owner.stream("GET", f"{sale.path}events/") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        events = events_of(answer.iter_lines())
        first, second = next(events), next(events)
        assert (first.event, first.retry, second.retry) == ("live", 1000, None)
        assert int(second.id) == int(first.id) + 1
        queue_many(sale.engine, sale.standing, 3)
        sale.decide()
        seen = [next(events) for _ in range(2)]
    last = json.loads(seen[-1].data)
    assert figures(last, *TICKETS) == (15, 12, 0, 3)
    assert last["decided_per_second"] > 0
    assert last["accepted_per_second"] > 0


def test_the_past_is_that_of_the_sale(sale: Sale, owner: httpx.Client) -> None:
    run(sale.engine, SWITCH, id=sale.standing, paused=True)
    run(sale.engine, SWITCH, id=sale.standing, paused=False)
    sale.happen()
    answer = owner.get(f"{sale.path}history/")
    assert answer.status_code == 200, answer.text
    history = answer.json()
    points, marks = history["points"], history["marks"]
    assert history["step_seconds"] == 1
    assert sum(point["decided"] for point in points) == 10
    assert sum(point["accepted"] for point in points) == 10
    assert figures(points[-1], "left", "held", "confirmed", "queued") == (9, 1, 6, 4)
    assert sum(point["refused"].get("not_enough_tickets", 0) for point in points) == 2
    assert [figures(mark, "kind", "ticket_type", "change") for mark in marks] == [
        ("capacity", sale.standing, 5),
        ("capacity", sale.seated, 10),
        ("paused", sale.standing, None),
        ("resumed", sale.standing, None),
        ("sold_out", sale.standing, None),
        ("capacity", sale.seated, 1),
    ]


@pytest.mark.parametrize("path", ["", "history/"])
def test_only_the_owner_reads_them(
    sale: Sale, owner: httpx.Client, settings: Settings, path: str
) -> None:
    stranger = authorization(settings, add_user(sale.engine))
    for _ in range(2):  # without a sampler, and with one
        answer = owner.get(sale.path + path, headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
        assert owner.get(sale.path + path).status_code == 200
    assert owner.get(f"/api/events/999999/live/{path}").status_code == 404
    assert owner.get(sale.path + path, params={"wait": 1}).status_code == 400
    refused = owner.post(sale.path + path)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


def test_a_part_of_the_past_begins_with_what_came_before(sale: Sale, owner: httpx.Client) -> None:
    sale.happen()
    whole = owner.get(f"{sale.path}history/").json()
    since = written(scalar(sale.engine, "SELECT extract(epoch FROM clock_timestamp())::float8"))
    run(sale.engine, "SELECT pg_sleep(0.01)")
    queue_many(sale.engine, sale.seated, 1)
    sale.decide()
    part = owner.get(f"{sale.path}history/", params={"from": since}).json()
    assert figures(whole["points"][-1], "left", "confirmed") == (9, 6)
    assert sum(point["decided"] for point in part["points"]) == 5
    assert figures(part["points"][-1], "left", "held", "confirmed", "queued") == (4, 1, 11, 0)
    assert part["marks"] == []
    all_, none = (
        owner.get(f"{sale.path}history/", params={"from": since}).json()["points"]
        for since in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
    )
    assert sum(point["decided"] for point in all_) == 15
    assert sum(point["decided"] for point in none) == 0
    assert figures(none[-1], "left", "held", "confirmed", "queued") == (4, 1, 11, 0)
    refused = owner.get(f"{sale.path}history/", params={"from": "yesterday"})
    assert (refused.status_code, list(refused.json()["errors"])) == (400, ["from"])


@pytest.mark.anyio
async def test_one_user_leaves_others_room(sale: Sale, settings: Settings) -> None:
    greedy = add_user(sale.engine)
    async with aclosing(Live(settings, sale.engine)) as live:
        with ExitStack() as watching:
            for _ in range(EVENTS_OF_USER_MAX):
                watched = await live.sampler(greedy, add_event(sale.engine, greedy))
                watching.enter_context(live.watching(greedy, watched))
            with pytest.raises(Unavailable):
                await live.sampler(greedy, add_event(sale.engine, greedy))
            await live.sampler(sale.owner, sale.event)


@pytest.mark.anyio
async def test_a_list_reads_the_figures_of_more_events_than_may_be_watched(
    sale: Sale, settings: Settings
) -> None:
    async with aclosing(Live(settings, sale.engine)) as live:
        events = [add_event(sale.engine, sale.owner) for _ in range(EVENTS_OF_USER_MAX + 3)]
        with live.watching(sale.owner, await live.sampler(sale.owner, sale.event)):
            for event in events:
                assert (await live.sample(sale.owner, event)).owner_id == sale.owner
            watched = await live.sampler(sale.owner, sale.event)
            assert watched.problem is None, "it was begun first, and is watched"


@pytest.mark.anyio
async def test_a_stranger_does_not_keep_a_sampler(
    sale: Sale, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "LINGER_SECONDS", 0.3)
    stranger = add_user(sale.engine)
    async with aclosing(Live(settings, sale.engine)) as live:
        watched = await live.sampler(sale.owner, sale.event)
        lingers_until = watched._linger_until
        async with asyncio.timeout(30):
            while watched.problem is None:
                with pytest.raises(PermissionDenied):
                    await live.sampler(stranger, sale.event)
                assert watched._linger_until == lingers_until
                await asyncio.sleep(0.1)
        # It leaves its owner room for another.
        assert (live._samplers, live._events) == ({}, {})


@pytest.mark.anyio
async def test_what_is_counted_is_not_counted_again(
    sale: Sale, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "COMPACT_EVERY", 1)
    run(
        sale.engine,
        """
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE SQLSTATE '57014'; END $$;
        CREATE TRIGGER fail BEFORE DELETE ON edge_refusals EXECUTE FUNCTION fail();
        """,
    )
    async with aclosing(Live(settings, sale.engine)) as live:
        live.refusals.count(sale.seated, "sale_paused")
        for _ in range(2):
            await live.refusals.write()
        run(sale.engine, "DROP FUNCTION fail CASCADE")
        run(sale.engine, OLD_REFUSALS, id=sale.event)
        for _ in range(2):
            await live.refusals.write()
            # The second one has still to do.
            monkeypatch.setattr(refusals, "COMPACT_EVERY", 1_000_000)
    of_event = "FROM edge_refusals WHERE event_id = :id AND step_seconds"
    assert scalar(sale.engine, f"SELECT count(*) {of_event} = 2", id=sale.event) == 1
    counted = f"SELECT sum(count)::int {of_event} = 3600"
    assert scalar(sale.engine, counted, id=sale.event) == COMPACT_ROWS + 10
    counted = f"SELECT sum(count)::int {of_event} = 2"
    assert scalar(sale.engine, counted, id=sale.event) == 1


def test_refusals_of_all_gateways_add_up(
    sale: Sale, owner: httpx.Client, settings: Settings
) -> None:
    queue_many(sale.engine, sale.standing, 5)
    sale.decide()
    run(sale.engine, SWITCH, id=sale.seated, paused=True)
    buyer = authorization(settings, add_user(sale.engine))
    bodies = [{"ticket_type": id_, "quantity": 1} for id_ in (sale.standing, sale.seated, 999_999)]

    def refused_by(gateway: httpx.Client) -> None:
        for body in bodies:
            assert gateway.post("/api/ticket-purchases/", json=body, headers=buyer).is_error

    with running_gateway(settings) as other:
        refused_by(owner)
        for _ in range(2):
            refused_by(other)

    def are_counted() -> None:
        found = owner.get(sale.path).json()["refusals"]
        assert found == {"not_enough_tickets": 3, "sale_paused": 3}

    eventually(are_counted)
    points = owner.get(f"{sale.path}history/").json()["points"]
    assert sum(point["refused"].get("sale_paused", 0) for point in points) == 3


@pytest.mark.anyio
async def test_many_watchers_cost_one_sample_a_second(
    sale: Sale, owner: httpx.Client, settings: Settings
) -> None:
    """Each sample looks once for the last audit."""
    samples = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'audits_by_event'"
    headers = authorization(settings, sale.owner) | EVENTS
    seen: Counter[str] = Counter()

    async def watch(client: httpx.AsyncClient) -> None:
        numbers: list[str] = []
        async with client.stream("GET", sale.path, headers=headers) as answer:
            async for line in answer.aiter_lines():
                numbers += [line] if line.startswith("id: ") else []
                if len(numbers) == 3:
                    break
        seen.update(numbers)

    before = scalar(sale.engine, samples)
    async with httpx.AsyncClient(
        base_url=owner.base_url, timeout=60, limits=httpx.Limits(max_connections=WATCHERS)
    ) as client:
        await asyncio.gather(*(watch(client) for _ in range(WATCHERS)))
    assert seen.total() == 3 * WATCHERS

    def are_few() -> None:
        # Some are of other tests, which were watching a moment ago.
        assert 3 <= scalar(sale.engine, samples) - before < WATCHERS

    eventually(are_few)


def test_a_stream_ends_with_its_token(sale: Sale, owner: httpx.Client, settings: Settings) -> None:
    soon = authorization(settings.model_copy(update={"access_token_seconds": 2}), sale.owner)
    began = time.monotonic()
    with owner.stream("GET", sale.path, headers=soon | EVENTS) as answer:
        assert len(list(events_of(answer.iter_lines()))) >= 1
    assert time.monotonic() - began < 10


def test_a_stream_ends_when_its_event_is_transferred(sale: Sale, owner: httpx.Client) -> None:
    other = add_user(sale.engine)
    transfer = "UPDATE events SET owner_id = :owner WHERE id = :event"
    with owner.stream("GET", sale.path, headers=EVENTS) as answer:
        events = events_of(answer.iter_lines())
        next(events)
        run(sale.engine, transfer, owner=other, event=sale.event)
        try:
            assert len(list(events)) <= 3
        finally:
            run(sale.engine, transfer, owner=sale.owner, event=sale.event)


def test_an_outage_leaves_the_last_sample_and_a_stop_ends_streams(
    postgres_url: str, settings: Settings
) -> None:
    with new_database(postgres_url) as database_url:
        changes = {"database_url": database_url, "gateway_port": free_port()}
        settings = settings.model_copy(update=changes)
        engine = open_engine(settings, "test")
        sale = Sale(engine, settings)
        engine.dispose()
        url = f"http://127.0.0.1:{settings.gateway_port}"
        headers = authorization(settings, sale.owner)
        with (
            running_service("gateway", settings, f"{url}/readyz") as process,
            httpx.Client(base_url=url, headers=headers, timeout=30) as owner,
            owner.stream("GET", sale.path, headers=EVENTS) as answer,
        ):
            samples = (json.loads(event.data) for event in events_of(answer.iter_lines()))
            good = next(samples)
            assert not good["stale"]
            with unreachable(postgres_url, settings.database_url):
                stale = next(sample for sample in samples if sample["stale"])
                assert stale | {"stale": False, "at": None} == good | {"at": None} | {
                    name: stale[name] for name in stale if name.endswith("_per_second")
                }
                assert owner.get(sale.path).json()["stale"]
            assert next(sample for sample in samples if not sample["stale"])["at"] > stale["at"]
            process.send_signal(signal.SIGTERM)
            # Not cut off: httpx would raise at a stream without its proper end.
            assert all(not sample["stale"] for sample in samples)


def test_head_of_a_stream_does_not_hold_the_connection(sale: Sale, owner: httpx.Client) -> None:
    for _ in range(2):
        head = owner.head(sale.path, headers=EVENTS)
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream")


def test_an_audit_is_asked_for_once_and_its_verdict_is_live(
    sale: Sale, owner: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTIFY_DATABASE_URL", sale.settings.database_url)
    sale.happen()
    path = f"/api/events/{sale.event}/audits/"
    key = {"Idempotency-Key": f"audit-{sale.event}"}
    asked = owner.post(path, headers=key)
    assert asked.status_code == 202, asked.text
    assert asked.headers["location"] == f"{path}{asked.json()['id']}/"
    joined, again = owner.post(path), owner.post(path, headers=key)
    assert joined.json() == again.json() == asked.json()
    assert again.headers["idempotency-replayed"] == "true"
    runner = AuditRunner(sale.engine)

    def is_done() -> None:
        runner.step()
        assert owner.get(asked.headers["location"]).json()["status"] == "passed"

    eventually(is_done, within_seconds=60)
    verdict = owner.get(asked.headers["location"]).json()
    assert figures(verdict, "event", "entries", "findings") == (sale.event, 15, [])
    assert "6 sold + 1 held + 9 left = 16 issued" in verdict["summary"]
    assert owner.get(path).json()["results"] == [verdict]

    def is_live() -> None:
        assert owner.get(sale.path).json()["audit"] == verdict

    eventually(is_live)
    other = Sale(sale.engine, sale.settings)
    assert owner.get(f"/api/events/{other.event}/audits/").status_code == 403
    assert owner.get(f"{path}999999/").status_code == 404
    refused = owner.put(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, POST")
