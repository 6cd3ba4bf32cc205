"""Accepting a batch of requests: rows, or the error of each."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count, cycle, permutations
from typing import Any

import pytest
from msgspec.structs import replace
from psycopg2.errors import DeadlockDetected
from sqlalchemy import Engine

from gateway.purchases import read, store
from gateway.purchases.accept import Accepted, PurchaseRequest, Replayed, queued_purchase
from gateway.purchases.list_by_cursor import list_by_cursor
from gateway.purchases.store import LIMIT_READ_MAX, VAIN_MAX, Limits
from purchase_worker.audit.all_events import audit
from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.database.engine import open_engine, session
from shared.errors import (
    IdempotencyKeyReused,
    InvalidInput,
    NotEnoughTickets,
    OverUserLimit,
    SaleClosed,
    SaleNotOpen,
    ServerError,
    TokenNotValid,
    Unavailable,
)
from shared.purchases import still_queued
from tests.support.factories import (
    LIMITS,
    accept,
    add_event,
    add_ticket_type,
    add_user,
    add_users,
    cart,
    event_of,
    ignore,
    outcomes,
    queue,
    queue_many,
    request,
    rows,
    run,
    scalar,
    tamper,
)
from tests.support.plans import flush_statistics, rows_read, scans
from tests.support.servers import server_setting
from tests.support.waiting import eventually, until_sessions_wait

NOW = datetime.now(UTC)


def test_accepts_a_batch_in_its_order(engine: Engine) -> None:
    user = add_user(engine)
    ticket_type = add_ticket_type(engine, 10, price=Decimal("19.90"))
    requests = [request(user, ticket_type, 1 + n % 3) for n in range(50)]
    verdicts = accept(engine, requests)
    assert [v.position for v in verdicts if isinstance(v, Accepted)] == list(range(50))
    assert [id_ for id_, _, _ in outcomes(engine, ticket_type)] == [r.id for r in requests]
    assert {v.unit_prices for v in verdicts if isinstance(v, Accepted)} == {("19.90",)}


@pytest.mark.parametrize("price", ["0.00", "19.90", "9999999999.99"])
def test_an_accepted_purchase_reads_the_same_later(engine: Engine, price: str) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100, price=Decimal(price))
    asked = [request(user, ticket_type, quantity) for quantity in (1, 3)]
    reported = accept(engine, asked)
    found = read.read(engine, [r.id for r in asked], position_max_rows=1_000)
    for wanted, verdict in zip(asked, reported, strict=True):
        assert isinstance(verdict, Accepted)
        later = found[wanted.id]
        assert later.position is not None
        assert queued_purchase(wanted, verdict, 0.5) == still_queued(
            later.purchase, later.position, 0.5
        )


def test_an_event_has_one_queue_for_all_its_ticket_types(engine: Engine) -> None:
    user, adults = add_user(engine), add_ticket_type(engine, 10)
    children = add_ticket_type(engine, 10, event_id=event_of(engine, adults))
    elsewhere = add_ticket_type(engine, 10)
    wanted = [(adults, 1), (children, 1)]
    asked = [request(user, adults), request(user, children), cart(user, wanted)]
    first = accept(engine, [*asked, request(user, elsewhere)])
    assert [v.position for v in first if isinstance(v, Accepted)] == [0, 1, 2, 0]
    (later,) = accept(engine, [request(user, children)])
    assert isinstance(later, Accepted)
    assert later.position == 3


@pytest.mark.parametrize("sales_start", [None, NOW + timedelta(hours=1)])
@pytest.mark.parametrize("sales_end", [None, NOW + timedelta(days=9)])
def test_an_event_that_has_ended_sells_nothing_in_any_sale_window(
    engine: Engine, sales_start: datetime | None, sales_end: datetime | None
) -> None:
    user = add_user(engine)
    ticket_type = add_ticket_type(engine, 10, sales_start=sales_start, sales_end=sales_end)
    elsewhere = add_ticket_type(engine, 10)
    run(
        engine,
        "UPDATE events SET start_time = now() - interval '2 hours',"
        " end_time = now() - interval '1 second'"
        " FROM ticket_types t WHERE t.event_id = events.id AND t.id = :id",
        id=ticket_type,
    )
    ended, lasting = accept(engine, [request(user, ticket_type), request(user, elsewhere)])
    assert (type(ended), type(lasting)) == (SaleClosed, Accepted)
    assert outcomes(engine, ticket_type) == []


def test_each_error_in_a_batch_leaves_the_other_requests_alone(engine: Engine) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    accept(engine, [request(user, ticket_type, 1, key="k")])
    hour = timedelta(hours=1)
    expected = {
        request(user, ticket_type): Accepted,
        request(user, 999_999_999): InvalidInput,
        request(999_999_999, ticket_type): TokenNotValid,
        request(user, add_ticket_type(engine, 0)): NotEnoughTickets,
        request(user, add_ticket_type(engine, 9, sales_start=NOW + hour)): SaleNotOpen,
        request(user, add_ticket_type(engine, 9, sales_end=NOW - hour)): SaleClosed,
        request(user, add_ticket_type(engine, 9, max_per_purchase=2), 3): InvalidInput,
        request(user, ticket_type, 2, key="k"): IdempotencyKeyReused,
        request(user, ticket_type, 1, key="k"): Replayed,
        request(user, ticket_type, 1): Accepted,
    }
    verdicts = accept(engine, [*expected])
    assert [type(verdict) for verdict in verdicts] == [*expected.values()]
    assert scalar(engine, "SELECT count(*) FROM requests WHERE kind = 'buy'") == 3


def test_who_comes_too_early_is_told_when_to_come(engine: Engine) -> None:
    opens = scalar(engine, "SELECT now() + interval '1 hour'")
    user, one = add_user(engine), add_ticket_type(engine, 9, sales_start=opens)
    (refused,) = accept(engine, [request(user, one)])
    assert isinstance(refused, SaleNotOpen)
    assert 3_590 <= int(refused.headers["Retry-After"]) <= 3_600


def test_a_request_that_breaks_the_statement_fails_alone(engine: Engine) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    # No client can cause this.
    run(engine, "ALTER TABLE requests ADD CONSTRAINT no_threes CHECK (quantity <> 3)")
    poison = request(user, ticket_type, 3)
    verdicts = accept(engine, [request(user, ticket_type), poison, request(user, ticket_type)])
    assert [type(v) for v in verdicts] == [Accepted, ServerError, Accepted]


def test_one_bad_request_costs_a_large_batch_few_statements(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others keep their order, their keys and their positions."""
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100)
    run(engine, "ALTER TABLE requests ADD CONSTRAINT no_threes CHECK (quantity <> 3)")
    asked = [request(user, ticket_type) for _ in range(64)]
    asked[40] = request(user, ticket_type, 3)
    asked[5], asked[60] = (request(user, ticket_type, 1, "k") for _ in range(2))
    statement, batches = store.statement, []

    def counted(engine: Engine) -> Any:
        batches.append(1)
        return statement(engine)

    monkeypatch.setattr(store, "statement", counted)
    verdicts = accept(engine, asked)
    assert len(batches) == 1 + 2 * 6
    assert isinstance(verdicts[40], ServerError)
    assert verdicts[60] == Replayed(asked[5].id, event_of(engine, ticket_type))
    accepted = [v for v in verdicts if isinstance(v, Accepted)]
    assert [v.position for v in accepted] == list(range(62))
    stored = [id_ for id_, _, _ in outcomes(engine, ticket_type)]
    assert stored == [r.id for nth, r in enumerate(asked) if nth not in (40, 60)]


def test_the_same_key_twice_in_one_batch_makes_one_purchase_of_each_user(engine: Engine) -> None:
    user, other, ticket_type = add_user(engine), add_user(engine), add_ticket_type(engine, 5)
    first, elsewhere, second = (request(id_, ticket_type, 1, "k") for id_ in (user, other, user))
    verdicts = accept(engine, [first, elsewhere, second])
    assert [type(v) for v in verdicts] == [Accepted, Accepted, Replayed]
    assert [id_ for id_, _, _ in outcomes(engine, ticket_type)] == [first.id, elsewhere.id]


def test_concurrent_requests_with_one_key_make_one_purchase(engine: Engine) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(
            pool.map(lambda _: accept(engine, [request(user, ticket_type, 1, "k")])[0], range(40))
        )
    (bought,) = outcomes(engine, ticket_type)
    assert {v.purchase_id for v in verdicts if isinstance(v, Replayed)} == {bought[0]}
    assert sum(isinstance(v, Accepted) for v in verdicts) == 1


def test_accepted_requests_stay_accepted_when_a_later_attempt_fails(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    insert, calls = store._insert, []

    def fail_at_the_second(*arguments: Any) -> Any:
        calls.append(arguments)
        return insert(*arguments) if len(calls) == 1 else [Unavailable()]

    monkeypatch.setattr(store, "_insert", fail_at_the_second)
    # The second of one key needs another look, which fails.
    verdicts = accept(engine, [request(user, ticket_type, 1, key) for key in ("a", "b", "b")])
    assert [type(v) for v in verdicts] == [Accepted, Accepted, Unavailable]


def test_two_batches_that_deadlock_both_get_answers(engine: Engine) -> None:
    """Retry storms cross: each has a key that the other wants. One is rolled back and repeated."""
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    rounds = count()

    def cross() -> list[type[object]]:
        number = next(rounds)
        first, second = (request(user, ticket_type, 1, f"{key}{number}") for key in "ab")
        with engine.connect() as connection, ThreadPoolExecutor(1) as pool:
            cursor = connection.connection.cursor()
            store.ACCEPT.run(cursor, store.parameters_of([first], LIMITS))
            crossing = pool.submit(accept, engine, [second, first])
            until_sessions_wait(engine)
            store.ACCEPT.run(cursor, store.parameters_of([second], LIMITS))
            connection.connection.commit()
            return [type(verdict) for verdict in crossing.result()]

    # The other waited first, so it is the other that the database rolls back; unless we were so
    # slow that it had looked for a deadlock before there was one.
    assert eventually(cross, retry_on=DeadlockDetected) == [Replayed, Replayed]


@pytest.mark.parametrize("requests", [1, 2])
def test_a_user_who_is_deleted_meanwhile_is_unknown(engine: Engine, requests: int) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 10)
    with engine.connect() as connection, ThreadPoolExecutor(1) as pool:
        connection.exec_driver_sql(f"DELETE FROM users WHERE id = {user}")
        buying = pool.submit(accept, engine, [request(user, ticket_type) for _ in range(requests)])
        until_sessions_wait(engine)
        connection.commit()
        assert [type(verdict) for verdict in buying.result()] == [TokenNotValid] * requests


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many requests each accept statement had, whether it failed or not."""
    sizes, parameters_of = list[int](), store.parameters_of

    def counted(requests: Sequence[PurchaseRequest], limits: Limits) -> dict[str, Any]:
        sizes.append(len(requests))
        return parameters_of(requests, limits)

    monkeypatch.setattr(store, "parameters_of", counted)
    return sizes


@pytest.mark.parametrize("locked", [{2, 5}, set(range(0, 200, 2))], ids=["few", "half"])
def test_a_ticket_type_that_is_being_deleted_holds_up_no_other_purchase(
    engine: Engine, statements: list[int], locked: set[int]
) -> None:
    user, sold, deleted = add_user(engine), *(add_ticket_type(engine, 500) for _ in range(2))
    batch = [request(user, deleted if n in locked else sold) for n in range(200)]
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DELETE FROM ticket_types WHERE id = {deleted}")
        verdicts = accept(engine, batch)
        expected = [Unavailable if n in locked else Accepted for n in range(200)]
        assert list(map(type, verdicts)) == expected
        positions = [verdict.position for verdict in verdicts if isinstance(verdict, Accepted)]
        assert positions == list(range(len(positions)))
        # Once it is found, it is left out.
        assert len(statements) < 25
        connection.commit()
    (verdict,) = accept(engine, [request(user, deleted)])
    assert isinstance(verdict, InvalidInput)


def test_carts_that_share_a_locked_ticket_type_are_found_by_one_of_them(
    engine: Engine, statements: list[int]
) -> None:
    user, event = add_user(engine), add_event(engine)
    deleted, *others = (add_ticket_type(engine, 500, event_id=event) for _ in range(6))
    orders = cycle(permutations([deleted, *others], 3))
    carts = [cart(user, [(id_, 1) for id_ in next(orders)]) for _ in range(100)]
    singles = [request(user, others[0]) for _ in range(100)]
    batch = [one for pair in zip(carts, singles, strict=True) for one in pair]
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DELETE FROM ticket_types WHERE id = {deleted}")
        verdicts = accept(engine, batch)
        connection.commit()
    assert set(map(type, verdicts[1::2])) == {Accepted}
    has_deleted = [any(line.ticket_type == deleted for line in one.lines) for one in carts]
    refused = [isinstance(verdict, Unavailable) for verdict in verdicts[::2]]
    assert all(is_refused or not has for has, is_refused in zip(has_deleted, refused, strict=True))
    assert len(statements) < 60


def test_a_table_that_stays_locked_is_waited_for_three_times(
    engine: Engine, settings: Settings, statements: list[int]
) -> None:
    user, ticket_types = add_user(engine), [add_ticket_type(engine, 5) for _ in range(2)]
    impatient = open_engine(settings.model_copy(update={"lock_timeout_ms": 100}), "test")
    with engine.connect() as connection:
        connection.exec_driver_sql("LOCK TABLE requests IN SHARE MODE")
        verdicts = accept(impatient, [request(user, id_) for id_ in ticket_types])
    impatient.dispose()
    assert list(map(type, verdicts)) == [Unavailable] * 2
    assert statements == [2, 2, 2]


def test_a_ticket_type_that_is_locked_for_a_moment_refuses_nobody(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 10)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT FROM ticket_types WHERE id = {ticket_type} FOR UPDATE")
        monkeypatch.setattr(time, "sleep", lambda _seconds: connection.rollback())
        assert list(map(type, accept(engine, [request(user, ticket_type)]))) == [Accepted]


def test_any_default_isolation_of_the_database_will_do(engine: Engine, settings: Settings) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    name = scalar(engine, "SELECT current_database()")
    run(engine, f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    isolated = open_engine(settings, "test")
    (verdict,) = accept(isolated, [request(user, ticket_type)])
    isolated.dispose()
    assert isinstance(verdict, Accepted)


@pytest.mark.parametrize(
    "setting", ["array_nulls = off", "quote_all_identifiers = on", "datestyle = 'German'"]
)
def test_settings_of_the_database_that_change_what_sql_means_are_not_in_force(
    engine: Engine, settings: Settings, setting: str
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    name = scalar(engine, "SELECT current_database()")
    run(engine, f"ALTER DATABASE {name} SET {setting}")
    other = open_engine(settings, "test")
    for _ in range(2):  # no key makes the second one the first
        (verdict,) = accept(other, [request(user, ticket_type)])
        assert isinstance(verdict, Accepted)
    drain(other, [event_of(other, ticket_type)], settings, ignore)
    report = audit(other, settings)
    other.dispose()
    assert (report.ok, report.sold, report.queued) == (True, 2, 0)


@pytest.mark.parametrize(
    ("setting", "value"), [("datestyle", "SQL, DMY"), ("extra_float_digits", "-15")]
)
def test_settings_of_the_server_that_are_reloaded_change_no_open_session(
    engine: Engine, settings: Settings, postgres_url: str, setting: str, value: str
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    moment = "SELECT '2026-12-01 12:00:00.123456Z'::timestamptz::text, 1764590400.123456::float8"
    before = rows(engine, moment)
    with server_setting(postgres_url, setting, value):
        assert rows(engine, moment) == before
        (verdict,) = accept(engine, [request(user, ticket_type)])
        assert isinstance(verdict, Accepted)
        drain(engine, [event_of(engine, ticket_type)], settings, ignore)
        report = audit(engine, settings)
    assert (report.ok, report.queued) == (True, 0)


def test_in_a_read_only_database_nothing_is_accepted(engine: Engine, settings: Settings) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    name = scalar(engine, "SELECT current_database()")
    run(engine, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    read_only = open_engine(settings, "test")
    (verdict,) = accept(read_only, [request(user, ticket_type)])
    read_only.dispose()
    assert isinstance(verdict, Unavailable)


def test_without_a_database_nothing_is_accepted(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/nothing"})
    engine = open_engine(away, "test")
    (verdict,) = accept(engine, [request(1, 1)])
    engine.dispose()
    assert isinstance(verdict, Unavailable)


def test_each_row_knows_the_transaction_that_accepted_it(engine: Engine) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    accept(engine, [request(user, ticket_type), request(user, ticket_type)])
    accept(engine, [request(user, ticket_type)])
    xids = [
        row[0]
        for row in rows(
            engine, "SELECT accepted_xid::text FROM requests WHERE kind = 'buy' ORDER BY seq"
        )
    ]
    assert xids[0] == xids[1] != xids[2]


def test_a_list_of_purchases_ends_at_the_limit_of_all_lists(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting a million and leaving them out takes seconds, and pages are asked for in bulk."""
    monkeypatch.setattr(read, "LIST_MAX_ROWS", 5)
    user, ticket_type = add_user(engine), add_ticket_type(engine, 9)
    accept(engine, [request(user, ticket_type) for _ in range(7)])
    listed = partial(read.list_of_user, engine, read.Filter(user, None, None))
    counted, found = listed(lambda count: count - 1, 1, position_max_rows=9)
    assert (counted, len(found)) == (5, 1)


@pytest.mark.parametrize("others", [30, 250, 600])
def test_a_poll_reads_no_more_however_many_were_decided(
    engine: Engine, settings: Settings, others: int
) -> None:
    """Also while events with one entry are all that PostgreSQL knows."""
    for _ in range(others):
        add_ticket_type(engine, 1)
    run(engine, "ANALYZE")
    ticket_type = add_ticket_type(engine, 1_000)
    (mine,) = queue(engine, [request(add_user(engine), ticket_type)])
    gateway = open_engine(settings, "gateway", pool_size=1, prepares=True)

    def poll() -> str:
        return read.read(gateway, [mine], position_max_rows=1)[mine].purchase.status

    assert poll() == "queued"
    queue_many(engine, ticket_type, 500)
    drain(engine, [event_of(engine, ticket_type)], settings, ignore)
    before = rows_read(engine)
    assert poll() == "confirmed"
    flush_statistics(gateway)
    gateway.dispose()
    assert 0 < rows_read(engine) - before < 100


def test_a_list_of_purchases_reads_those_of_its_user_alone(engine: Engine) -> None:
    ticket_type = add_ticket_type(engine, 9)
    users = add_users(engine, 100)
    for user in users:
        queue_many(engine, ticket_type, 100, user)
    run(engine, "ANALYZE")
    mine = read.Filter(users[50])
    before = rows_read(engine)
    counted, _found = read.list_of_user(engine, mine, lambda _count: 0, 1, position_max_rows=9)
    found, _after = list_by_cursor(engine, mine, None, 1, position_max_rows=9)
    assert (counted, len(found)) == (100, 1)
    assert rows_read(engine) - before < 1_000


@pytest.mark.parametrize(
    "limited",
    ["no limit", "of the event", "of the type", "of a cart's line"],
)
def test_who_is_rejected_again_and_again_is_refused_at_last(engine: Engine, limited: str) -> None:
    """What he owns is read from all his requests while the lane is locked."""
    owner, stubborn, other = (add_user(engine) for _ in range(3))
    event = add_event(engine, owner)
    limit = {"max_per_user": 2} if limited in ("of the type", "of a cart's line") else {}
    ticket_type = add_ticket_type(engine, 10, event_id=event, **limit)
    second = add_ticket_type(engine, 10, event_id=event)
    if limited == "of the event":
        run(engine, "UPDATE events SET max_per_user = 2 WHERE id = :id", id=event)

    def wanted(user: int) -> PurchaseRequest:
        if limited == "of a cart's line":
            return cart(user, [(second, 1), (ticket_type, 1)])
        return request(user, ticket_type)

    def accepted() -> list[bool]:
        verdicts = accept(engine, [wanted(user) for user in (stubborn, owner, other)])
        assert all(isinstance(each, Accepted | OverUserLimit) for each in verdicts)
        return [isinstance(verdict, Accepted) for verdict in verdicts]

    for user in (stubborn, owner):
        queue_many(engine, ticket_type, VAIN_MAX + 1, user)
    assert accepted() == [True, True, True]  # the last one: as many as the limit, and VAIN_MAX more
    # An owner confirms thousands of payments, which are requests of his too.
    assert accepted() == [limited == "no limit", True, True]
    # With a key of the owner's each buyer has a limit of their own.
    queue_many(engine, ticket_type, VAIN_MAX + 2, owner, buyer="ada")
    (ada, grace) = accept(engine, [replace(wanted(owner), buyer=name) for name in ("ada", "grace")])
    assert isinstance(ada, Accepted) == (limited == "no limit")
    assert isinstance(grace, Accepted)


@pytest.mark.parametrize("is_owner", [False, True])
def test_there_is_an_end_however_large_the_limit_is_and_for_the_owner_too(
    engine: Engine, is_owner: bool
) -> None:
    owner, other = add_user(engine), add_user(engine)
    event = add_event(engine, owner)
    limit = 2 if is_owner else 2**31 - 1
    ticket_type = add_ticket_type(engine, 10, event_id=event, max_per_user=limit)
    buyer = owner if is_owner else add_user(engine)
    queue_many(engine, ticket_type, LIMIT_READ_MAX + VAIN_MAX - 1, buyer)
    for expected in (Accepted, OverUserLimit):
        verdicts = accept(engine, [request(user, ticket_type) for user in (buyer, other)])
        assert [type(verdict) for verdict in verdicts] == [expected, Accepted]


@pytest.mark.parametrize("limited", ["of the event", "of the type", "of a cart's line"])
def test_any_limit_of_each_user_is_counted_with(engine: Engine, limited: str) -> None:
    """The largest that the column takes, and more beside it, are more than its type holds."""
    event, most = add_event(engine), 2**31 - 1
    limit = {} if limited == "of the event" else {"max_per_user": most}
    ticket_type = add_ticket_type(engine, 10, event_id=event, **limit)
    if limited == "of the event":
        run(engine, "UPDATE events SET max_per_user = :most WHERE id = :id", most=most, id=event)
    lines = [(ticket_type, 1)]
    if limited == "of a cart's line":
        lines.append((add_ticket_type(engine, 10, event_id=event), 1))
    (verdict,) = accept(engine, [cart(add_user(engine), lines)])
    assert isinstance(verdict, Accepted)


@pytest.mark.parametrize("lines", [1, 2])
@pytest.mark.parametrize(
    ("users", "of_each", "is_analysed"),
    [(0, 0, False), (20, 2, False), (1_000, 1, True), (100, 200, True)],
)
def test_the_statement_reads_no_more_however_many_requests_a_user_has(
    engine: Engine, users: int, of_each: int, is_analysed: bool, lines: int
) -> None:
    """A plan that was made on small tables is kept while they grow; ANALYZE brings another, of what
    a user has on average."""
    ticket_type = add_ticket_type(engine, 1)
    if users:
        of_all = f"generate_series(1, {of_each}) n, unnest(ARRAY{add_users(engine, users)}) user_id"
        tamper(
            engine,
            "INSERT INTO requests (id, event_id, user_id, ticket_type_id, quantity, unit_price,"
            "                      currency, request_id, idempotency_key, fingerprint)"
            " SELECT gen_random_uuid(), event_id, user_id, id, 1, price, 'EUR', 'test',"
            "       gen_random_uuid()::text, ''"
            f" FROM ticket_types, {of_all}",
            "INSERT INTO requests (id, event_id, kind, user_id, purchase_id)"
            " SELECT gen_random_uuid(), event_id, 'expire', user_id, id FROM requests"
            " WHERE seq % 2 = 0",
        )
    if is_analysed:
        run(engine, "ANALYZE")
    prepared = {1: store.ACCEPT, 2: store.ACCEPT_CARTS}[lines]
    wanted = cart(add_user(engine), [(ticket_type + nth, 1) for nth in range(lines)])
    with session(engine) as cursor:
        cursor.execute("BEGIN")
        bound = prepared.bind(cursor, store.parameters_of([wanted], LIMITS))
        cursor.execute(b"EXPLAIN (FORMAT JSON) " + bound)
        ((plan,),) = cursor.fetchall()
    of_tables = [scan for scan in scans(plan[0]["Plan"]) if "Relation Name" in scan]
    grows = [scan for scan in of_tables if scan["Relation Name"] in ("requests", "ledger", "holds")]
    assert {scan.get("Index Name") for scan in grows} == {
        *("requests_idempotency", "requests_of_expiries", "requests_by_holder"),
        *("ledger_one_answer", "holds_in_order"),
    }
