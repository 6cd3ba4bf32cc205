"""With a synchronous standby, a commit counts when the standby has it, and never before."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import httpx
import psycopg2
import pytest
from sqlalchemy import Connection, Engine, text

from catalog.transactions import session_transaction
from gateway.live import refusal_store
from gateway.purchases.accept import Accepted, Replayed
from gateway.purchases.read import Filter, list_of_user
from gateway.purchases.read import read as read_purchases
from gateway.transactions import connection_transaction
from purchase_worker.drain import Batch, drain
from shared.auth.mint_tokens import mint_tokens
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE, open_engine, statement
from shared.database.ledger import read_entries
from shared.database.once import KeyedRequest, once
from shared.errors import Unavailable
from shared.free_port import free_port
from tests.support.database_pair import DatabasePair, a_pair
from tests.support.factories import (
    accept,
    add_ticket_type,
    add_user,
    event_of,
    outcomes,
    queue,
    request,
    rows,
    run,
    scalar,
)
from tests.support.servers import new_database, with_database
from tests.support.services import running_service
from tests.support.waiting import eventually
from tests.system.selling import EVENTS, buy, event_fields

LIMIT_SECONDS = 20
TIMEOUT_SECONDS = 1.0
# uvicorn ends as the signal would have ended it. SIGTERM would end it there and then, with whatever
# hangs; not so SIGINT, nor SIGTERM where the process is a container's first.
STOP = signal.SIGINT
LONGEST_WAIT = """
SELECT extract(epoch FROM clock_timestamp() - min(query_start))
FROM pg_stat_activity WHERE wait_event = 'SyncRep'
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[DatabasePair]:
    with a_pair() as pair:
        yield pair


@pytest.fixture
def database_url(pair: DatabasePair) -> Iterator[str]:
    with new_database(pair.primary.url) as url:
        yield url


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """Where a test lets others wait for the standby."""
    with ThreadPoolExecutor(1) as thread:
        yield thread


@pytest.mark.parametrize("order", [("primary", "standby"), ("standby", "primary")])
def test_of_two_servers_the_one_that_can_be_written_to_is_used(
    engine: Engine, settings: Settings, pair: DatabasePair, order: tuple[str, str]
) -> None:
    both = settings.model_copy(update={"database_url": pair.url(engine.url.database, order)})
    connected = open_engine(both, "test", prepares=True)
    # The standby replays what it has a little later; by then it may not know the database.
    assert eventually(lambda: add_user(connected), retry_on=DATABASE_UNAVAILABLE)
    connected.dispose()


def test_a_standby_alone_is_never_used(
    engine: Engine, settings: Settings, pair: DatabasePair
) -> None:
    standby = with_database(pair.standby.url, engine.url.database)
    read_only = open_engine(settings.model_copy(update={"database_url": standby}), "test")

    def is_recognised() -> None:
        with pytest.raises(DATABASE_UNAVAILABLE, match="session is read-only"):
            scalar(read_only, "SELECT 1")

    eventually(is_recognised)
    read_only.dispose()


def test_nothing_is_accepted_until_the_standby_has_it_and_no_timeout_ends_the_wait(
    settings: Settings, pair: DatabasePair, thread: ThreadPoolExecutor
) -> None:
    """If PostgreSQL's timeouts counted here, they would end it with a warning and no error."""
    hurried = settings.model_copy(update={"statement_timeout_ms": 100, "lock_timeout_ms": 100})
    engine = open_engine(hurried, "test", prepares=True)
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    with pair.standby_away():
        accepted = thread.submit(accept, engine, [request(user, ticket_type)])
        pair.wait_for_commits()

        def waits_for_longer() -> None:
            assert scalar(engine, LONGEST_WAIT) > 0.3

        eventually(waits_for_longer)
        assert outcomes(engine, ticket_type) == []
        assert not accepted.done()
    (verdict,) = accepted.result(LIMIT_SECONDS)
    assert isinstance(verdict, Accepted)
    engine.dispose()


def test_a_wait_for_the_standby_that_was_cancelled_accepts_nothing(
    engine: Engine, pair: DatabasePair, thread: ThreadPoolExecutor
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    with pair.standby_away():
        accepted = thread.submit(accept, engine, [request(user, ticket_type)])
        pair.wait_for_commits()
        assert pair.cancel_waits() == 1
        (verdict,) = accepted.result(LIMIT_SECONDS)
        assert isinstance(verdict, Unavailable)
        # PostgreSQL calls it committed, and the row can be seen: on one server of two.
        assert len(outcomes(engine, ticket_type)) == 1
    # The connection is as good as before.
    assert isinstance(accept(engine, [request(user, ticket_type)])[0], Accepted)


def test_the_same_key_waits_until_the_standby_has_the_purchase(
    engine: Engine, pair: DatabasePair, thread: ThreadPoolExecutor
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    first = request(user, ticket_type, 1, "k")
    with pair.standby_away():
        thread.submit(accept, engine, [first])
        pair.wait_for_commits()
        pair.cancel_waits()
        again = thread.submit(accept, engine, [request(user, ticket_type, 1, "k")])
        pair.wait_for_commits()
        assert not again.done()
    assert again.result(LIMIT_SECONDS) == [Replayed(first.id, event_of(engine, ticket_type))]


def test_while_the_standby_is_away_everyone_is_answered_503_in_time(
    engine: Engine, settings: Settings, pair: DatabasePair
) -> None:
    """And the same key gives the same purchase afterwards."""
    services = services_of(settings)
    url = f"http://127.0.0.1:{services.gateway_port}"
    ticket_type = add_ticket_type(engine, 5)
    with engine.begin() as connection:
        (token,) = mint_tokens(connection, settings, ["ada"])
    bearer, key = {"Authorization": f"Bearer {token}"}, {"Idempotency-Key": "k"}
    account = {"username": "bob", "password": "velvet-tram-42"}
    with (
        running_service("catalog", services, f"{services.catalog_url}/readyz"),
        running_service("gateway", services, f"{url}/readyz"),
        httpx.Client(base_url=url, headers=bearer, timeout=LIMIT_SECONDS) as client,
    ):
        with pair.standby_away():
            answers = [
                buy(client, ticket_type, **key),
                client.post("/api/users/", json=account),
                client.post(EVENTS, json=event_fields()),
            ]
            assert outcomes(engine, ticket_type) == []
        assert [answer.status_code for answer in answers] == [503, 503, 503]
        assert all(answer.elapsed.total_seconds() < LIMIT_SECONDS / 2 for answer in answers)
        bought = eventually(lambda: _accepted(buy(client, ticket_type, **key)))
        assert _accepted(buy(client, ticket_type, **key)) == bought
        assert [row[0] for row in outcomes(engine, ticket_type)] == [bought]


def make_key(client: httpx.Client, _ticket_type: int) -> httpx.Response:
    return client.post("/api/keys/", json={"name": "Till", "scopes": ["read"]})


@pytest.mark.parametrize("ask", [buy, make_key])
def test_a_gateway_that_stops_while_a_commit_hangs_answers_and_leaves(
    engine: Engine,
    settings: Settings,
    pair: DatabasePair,
    thread: ThreadPoolExecutor,
    ask: Callable[[httpx.Client, int], httpx.Response],
) -> None:
    """Without a standby the commit has no end, and nobody can say what becomes of it."""
    services = services_of(settings)
    url = f"http://127.0.0.1:{services.gateway_port}"
    ticket_type = add_ticket_type(engine, 5)
    with engine.begin() as connection:
        (token,) = mint_tokens(connection, settings, ["ada"])
    bearer = {"Authorization": f"Bearer {token}"}
    with (
        running_service("gateway", services, f"{url}/readyz") as gateway,
        httpx.Client(base_url=url, headers=bearer, timeout=LIMIT_SECONDS) as client,
        pair.standby_away(),
    ):
        asked = thread.submit(ask, client, ticket_type)
        pair.wait_for_commits()
        gateway.send_signal(STOP)
        assert asked.result(LIMIT_SECONDS).status_code == 503
        assert gateway.wait(services.shutdown_seconds) == -STOP


@pytest.mark.parametrize("service", ["gateway", "catalog"])
def test_a_service_that_stops_while_the_database_stands_still_leaves(
    settings: Settings, pair: DatabasePair, service: str
) -> None:
    services = services_of(settings)
    port = getattr(services, f"{service}_port")
    ready_url = f"http://127.0.0.1:{port}/readyz"

    def waits_for_the_database() -> None:
        assert httpx.get(ready_url).status_code == 503

    with running_service(service, services, ready_url) as running:
        pair.primary.freeze()
        try:
            eventually(waits_for_the_database)
            running.send_signal(STOP)
            assert running.wait(services.shutdown_seconds) == -STOP
        finally:
            pair.primary.thaw()


def test_a_catalog_that_stops_while_a_commit_hangs_leaves(
    engine: Engine, settings: Settings, pair: DatabasePair, thread: ThreadPoolExecutor
) -> None:
    hurried = services_of(settings).model_copy(update={"shutdown_seconds": 1})
    with engine.begin() as connection:
        (token,) = mint_tokens(connection, settings, ["ada"])
    bearer = {"Authorization": f"Bearer {token}"}
    with (
        running_service("catalog", hurried, f"{hurried.catalog_url}/readyz") as catalog,
        httpx.Client(base_url=hurried.catalog_url, headers=bearer, timeout=60) as client,
        pair.standby_away(),
    ):
        asked = thread.submit(client.post, EVENTS, json=event_fields())
        pair.wait_for_commits()
        catalog.send_signal(STOP)
        assert catalog.wait(LIMIT_SECONDS) == -STOP
        assert asked.result(LIMIT_SECONDS).status_code >= 500


def test_refusals_are_counted_while_the_standby_is_away(
    engine: Engine, pair: DatabasePair, thread: ThreadPoolExecutor
) -> None:
    """They would take the threads of live figures. A failover may lose them."""
    ticket_type = add_ticket_type(engine, 5)
    run(
        engine,
        "INSERT INTO edge_refusals"
        " VALUES (:event, now() - interval '9 hours', 2, 'sale_closed', 1),"
        " (:event, now() - interval '2 years', 3600, 'all_held', 7)",
        event=event_of(engine, ticket_type),
    )
    with pair.standby_away():
        counts = {(ticket_type, "sale_closed"): 2}
        thread.submit(refusal_store.add, engine, counts).result(LIMIT_SECONDS)
        thread.submit(refusal_store.compact, engine).result(LIMIT_SECONDS)
        counted = rows(engine, "SELECT step_seconds, code, count FROM edge_refusals ORDER BY 1")
        assert counted == [(2, "sale_closed", 2), (3_600, "sale_closed", 1)]


@pytest.mark.parametrize("capacity", [5, 1])
def test_no_result_is_published_until_the_standby_has_the_decision(
    engine: Engine,
    settings: Settings,
    pair: DatabasePair,
    thread: ThreadPoolExecutor,
    capacity: int,
) -> None:
    """On sale, or sold out by an earlier batch and closed in bulk."""
    published: list[Batch] = []
    user, ticket_type = add_user(engine), add_ticket_type(engine, capacity)
    queue(engine, [request(user, ticket_type) for _ in range(3)])
    one_at_a_time = settings.model_copy(update={"drain_batch_rows": 1, "drain_max_batches": 1})
    event = event_of(engine, ticket_type)
    drain(engine, [event], one_at_a_time, published.append)
    assert len(published) == 1
    with pair.standby_away():
        drained = thread.submit(drain, engine, [event], settings, published.append)
        pair.wait_for_commits()
        pair.cancel_waits()
        assert isinstance(drained.exception(LIMIT_SECONDS), psycopg2.OperationalError)
        assert len(published) == 1
        # The first entry issued the tickets.
        assert scalar(engine, "SELECT number FROM lanes WHERE event_id = :id", id=event) == 1 + 3


@pytest.mark.parametrize("read", ["one", "list", "ledger"])
def test_no_outcome_is_read_until_the_standby_has_the_decision(
    engine: Engine,
    settings: Settings,
    pair: DatabasePair,
    thread: ThreadPoolExecutor,
    read: str,
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    (id_,) = queue(engine, [request(user, ticket_type)])

    def status() -> str:
        if read == "one":
            return read_purchases(engine, [id_], position_max_rows=1)[id_].purchase.status
        if read == "ledger":
            with statement(engine) as cursor:
                after_issued = read_entries(cursor, event_of(engine, ticket_type), 1, rows=10)
            return after_issued.entries[0].kind if after_issued.entries else "queued"
        wanted = Filter(user, None, None)
        _count, (found,) = list_of_user(engine, wanted, lambda _: 0, 10, position_max_rows=1)
        return found.purchase.status

    with pair.standby_away():
        assert status() == "queued"
        thread.submit(drain, engine, [event_of(engine, ticket_type)], settings, _nobody)
        pair.wait_for_commits()
        assert status() == "queued"
        pair.cancel_waits()
        seen = thread.submit(status)
        pair.wait_for_commits()
        pair.cancel_waits()
        assert isinstance(seen.exception(LIMIT_SECONDS), psycopg2.OperationalError)
        seen = thread.submit(status)
        pair.wait_for_commits()
    assert seen.result(LIMIT_SECONDS) == "confirmed"


@pytest.mark.parametrize("transaction", [session_transaction, connection_transaction])
def test_no_change_succeeds_until_the_standby_has_it(
    engine: Engine,
    pair: DatabasePair,
    thread: ThreadPoolExecutor,
    transaction: Callable[..., object],
) -> None:
    """Of events and ticket types, and of accounts."""

    def change() -> None:
        with transaction(engine) as connection:
            connection.execute(text("INSERT INTO users (username) VALUES ('ada')"))

    with pair.standby_away():
        changed = thread.submit(change)
        pair.wait_for_commits()
        pair.cancel_waits()
        assert isinstance(changed.exception(LIMIT_SECONDS), Unavailable)


@pytest.mark.parametrize("transaction", [session_transaction, connection_transaction])
def test_a_replay_waits_until_the_standby_has_what_was_done(
    engine: Engine,
    pair: DatabasePair,
    thread: ThreadPoolExecutor,
    transaction: Callable[..., AbstractContextManager[Connection]],
) -> None:
    """Of events and ticket types, and of accounts."""
    keyed = KeyedRequest(add_user(engine), "k", b"x" * 16)

    def send() -> bool:
        with transaction(engine) as connection:
            _, is_replay = once(connection, keyed, lambda: 1, lambda row_id: row_id, int)
        return is_replay

    with pair.standby_away():
        first = thread.submit(send)
        pair.wait_for_commits()
        pair.cancel_waits()
        assert isinstance(first.exception(LIMIT_SECONDS), Unavailable)
        again = thread.submit(send)
        pair.wait_for_commits()
        assert not again.done()
    assert again.result(LIMIT_SECONDS)


def services_of(settings: Settings) -> Settings:
    """With ports of their own, and shorter time-outs than clients."""
    catalog_port = free_port()
    timeouts = ("answer_timeout", "catalog_timeout")
    return Settings(
        **settings.model_dump()
        | {f"{name}_seconds": TIMEOUT_SECONDS for name in timeouts}
        | {
            "gateway_port": free_port(),
            "catalog_port": catalog_port,
            "catalog_url": f"http://127.0.0.1:{catalog_port}",
        }
    )


def _accepted(answer: httpx.Response) -> str:
    assert answer.status_code == 202, answer.text
    id_: str = answer.json()["id"]
    return id_


def _nobody(_batch: Batch) -> None:
    raise AssertionError("a result was published that only one server had")
