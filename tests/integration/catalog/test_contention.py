"""What one user can do to others through the catalog: locks, connections, searches, long pages."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from catalog.database_threads import DatabaseThreads, Work, connections_of
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.errors import Unavailable
from tests.integration.catalog.making import (
    EVENT,
    TICKET_TYPE,
    etag_of,
    make_event,
    make_ticket_type,
    path_of,
    queue_within,
    sell,
    sell_within,
    user_id_of,
)
from tests.support.waiting import until_sessions_wait


@contextmanager
def locked(database: Engine, *ticket_types: dict[str, Any]) -> Iterator[None]:
    """Another session holds the lanes, the ticket types and their events."""
    with database.connect() as connection:
        for table, column, key in (
            ("lanes", "event_id", "event"),
            ("ticket_types", "id", "id"),
            ("events", "id", "event"),
        ):
            connection.execute(
                text(f"SELECT FROM {table} WHERE {column} = ANY(:ids) FOR NO KEY UPDATE"),
                {"ids": [one[key] for one in ticket_types]},
            )
        yield


def writes(ticket_type: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """Every request that changes this ticket type or its event."""
    path, event = path_of(ticket_type), f"/api/events/{ticket_type['event']}/"
    body = TICKET_TYPE | {"event": ticket_type["event"]}
    return [
        ("PUT", path, body),
        ("PATCH", path, {"name": "Mine"}),
        ("DELETE", path, None),
        ("POST", f"{path}capacity/", {"change": 1}),
        ("POST", f"{path}pause/", None),
        ("POST", f"{path}resume/", None),
        ("POST", "/api/ticket-types/", body),
        ("PUT", event, EVENT),
        ("PATCH", event, {"title": "Mine"}),
        ("DELETE", event, None),
    ]


def test_who_may_not_write_is_refused_without_a_lock(
    owner: httpx.Client, someone_else: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner)
    with locked(database, ticket_type):
        for method, path, body in writes(ticket_type):
            answer = someone_else.request(method, path, json=body)
            assert answer.status_code == 403, (method, path)


def test_what_cannot_be_is_refused_without_a_lock(owner: httpx.Client, database: Engine) -> None:
    ticket_type = make_ticket_type(owner, capacity=10, sales_start="2027-01-01T00:00:00Z")
    other_event = make_event(owner)["id"]
    sell(database, ticket_type["id"], user_id_of(owner), quantity=1)
    path, event = path_of(ticket_type), f"/api/events/{ticket_type['event']}/"
    stale = {"If-Match": '"stale"'}
    with locked(database, ticket_type):
        for expected, method, address, body, headers in (
            (412, "PATCH", path, {"name": "Late"}, stale),
            (412, "DELETE", path, None, stale),
            (412, "POST", f"{path}capacity/", {"change": 1}, stale),
            (412, "POST", f"{path}pause/", None, stale),
            (412, "PATCH", event, {"title": "Late"}, stale),
            (412, "DELETE", event, None, stale),
            (428, "PATCH", path, {"capacity": 1}, {}),
            (400, "PATCH", path, {"sales_end": "2026-01-01T00:00:00Z"}, {}),
            (400, "PATCH", path, {"event": 999_999_999}, {}),
            (400, "POST", f"{path}capacity/", {"change": -10}, {}),
            (400, "PATCH", event, {"end_time": "2020-01-01T00:00:00Z"}, {}),
            (409, "PATCH", path, {"event": other_event}, {}),
            (409, "DELETE", path, None, {}),
            (409, "DELETE", event, None, {}),
        ):
            answer = owner.request(method, address, json=body, headers=headers)
            assert answer.status_code == expected, (method, address, body, answer.text)


def test_who_waits_for_locked_rows_holds_up_nobody_else(
    owner: httpx.Client, database: Engine
) -> None:
    held = [make_ticket_type(owner) for _ in range(6)]
    free = make_ticket_type(owner)
    with ThreadPoolExecutor(24) as pool, locked(database, *held):
        waiting = [
            pool.submit(owner.patch, path_of(one), json={"max_per_user": 5})
            for one in held
            for _ in range(4)
        ]
        for _ in range(10):
            for path in (path_of(held[0]), path_of(free), "/api/ticket-types/", "/readyz"):
                assert owner.get(path).status_code == 200
        answer = owner.patch(path_of(free), json={"max_per_user": 5})
        assert answer.status_code == 200
        assert not all(one.done() for one in waiting)
        refused = [one.result() for one in waiting]
    for answer in refused:
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert owner.patch(path_of(held[0]), json={"max_per_user": 5}).status_code == 200


def test_a_writer_gets_a_lock_that_is_soon_free(owner: httpx.Client, database: Engine) -> None:
    ticket_type = make_ticket_type(owner)
    with ThreadPoolExecutor(1) as pool:
        with locked(database, ticket_type):
            change = pool.submit(owner.post, f"{path_of(ticket_type)}capacity/", json={"change": 1})
            until_sessions_wait(database)
        assert change.result().status_code == 200


def test_only_so_many_wait_for_one_row(owner: httpx.Client, database: Engine) -> None:
    ticket_type = make_ticket_type(owner)
    with ThreadPoolExecutor(40) as pool, locked(database, ticket_type):
        started = time.monotonic()
        change = {"max_per_user": 5}
        waiting = [pool.submit(owner.patch, path_of(ticket_type), json=change) for _ in range(40)]
        refused = [one.result() for one in waiting]
    assert {answer.status_code for answer in refused} == {503}
    details = [answer.json()["detail"] for answer in refused]
    assert "Too many requests wait for the same; try again shortly." in details
    # One after another they would take 40 times the limit of a lock.
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("types", [1, 8], ids=["one ticket type", "many"])
def test_an_owner_who_hammers_leaves_the_lane_to_the_sale(
    owner: httpx.Client, database: Engine, types: int
) -> None:
    event = make_event(owner)["id"]
    hammered = [path_of(make_ticket_type(owner, event=event)) for _ in range(types)]
    paths = [f"{hammered[n % types]}capacity/" for n in range(8)]
    look = text("SELECT 1 FROM lanes WHERE event_id = :id FOR NO KEY UPDATE SKIP LOCKED")
    with ThreadPoolExecutor(8) as pool:
        hammering = [pool.submit(_hammer, owner, path) for path in paths]
        looks = got = 0
        while not all(one.done() for one in hammering):
            with database.begin() as connection:
                got += connection.execute(look, {"id": event}).first() is not None
            looks += 1
    assert sum(one.result() for one in hammering) > 8
    # Without the gaps it is a sixth; beside other work on the machine about half.
    assert got > 0.3 * looks


def _hammer(owner: httpx.Client, path: str) -> int:
    """How many of these changes were made."""
    return sum(owner.post(path, json={"change": 1}).status_code == 200 for _ in range(8))


# --- races with purchases and with one another ---


def test_a_sale_between_reading_and_writing_makes_a_form_stale(
    owner: httpx.Client, database: Engine
) -> None:
    """The ETag is compared under the lock: what was sold while we waited for it counts."""
    ticket_type = make_ticket_type(owner, capacity=10)
    path = path_of(ticket_type)
    read = {"If-Match": etag_of(owner, path)}
    with ThreadPoolExecutor(1) as form:
        with database.begin() as connection:
            sell_within(connection, ticket_type["id"], user_id_of(owner), 3)
            answer = form.submit(owner.patch, path, json={"capacity": 10}, headers=read)
            until_sessions_wait(database)
        assert answer.result().status_code == 412
    assert owner.get(path).json()["capacity"] == 7


def test_concurrent_changes_all_count(owner: httpx.Client, database: Engine) -> None:
    ticket_type = make_ticket_type(owner, capacity=100)
    path = f"{path_of(ticket_type)}capacity/"
    changes = [1, -2, 3, -4, 5, -6, 7, -8] * 3
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda change: owner.post(path, json={"change": change}), changes))
    assert {answer.status_code for answer in answers} == {200}
    assert owner.get(path_of(ticket_type)).json()["capacity"] == 100 + sum(changes)
    record = text("SELECT change FROM ledger WHERE ticket_type_id = :id ORDER BY number")
    with database.connect() as connection:
        recorded = connection.execute(record, {"id": ticket_type["id"]}).scalars().all()
    assert sorted(recorded[1:]) == sorted(changes)


@pytest.mark.parametrize("what", ["event", "ticket_type"])
def test_a_purchase_that_is_being_accepted_keeps_a_ticket_type_from_being_deleted(
    owner: httpx.Client, database: Engine, what: str
) -> None:
    ticket_type = make_ticket_type(owner)
    path = path_of(ticket_type) if what == "ticket_type" else f"/api/events/{ticket_type['event']}/"
    with ThreadPoolExecutor(1) as deleter:
        with database.begin() as connection:
            queue_within(connection, ticket_type["id"], user_id_of(owner))
            answer = deleter.submit(owner.delete, path)
            until_sessions_wait(database)
        assert answer.result().status_code == 409
    assert owner.get(path).status_code == 200


# --- searches and lists ---


def test_a_slow_search_ends_and_takes_unknown_connection(settings: Settings) -> None:
    limited = settings.model_copy(update={"catalog_list_timeout_ms": 200})
    engine = open_engine(limited, "test", pool_size=connections_of(limited))
    threads = DatabaseThreads(engine, limited, lambda _events: None)

    async def search(user_id: int) -> None:
        with pytest.raises(Unavailable) as refusal:
            await threads.search(
                user_id, lambda session: session.execute(text("SELECT pg_sleep(9)"))
            )
        assert int(refusal.value.headers["Retry-After"]) > 0

    async def others() -> None:
        searching = [asyncio.create_task(search(user)) for user in (1, 1, 1, 1, 2, 3)]
        await asyncio.sleep(0)
        for run in (partial(threads.read, 1), partial(threads.list, 1), threads.ready):
            await run(lambda session: session.execute(text("SELECT 1")))
        await threads.write(1, "row", lambda session: session.execute(text("SELECT 1")))
        assert not all(one.done() for one in searching)
        await asyncio.gather(*searching)

    asyncio.run(others())
    threads.close()
    engine.dispose()


@pytest.mark.parametrize("kind", ["read", "list", "write"])
def test_one_users_slow_work_leaves_the_others_a_thread(settings: Settings, kind: str) -> None:
    limited = settings.model_copy(update={"answer_timeout_seconds": 0.5})
    engine = open_engine(limited, "test", pool_size=connections_of(limited))
    threads = DatabaseThreads(engine, limited, lambda _events: None)

    async def run(user_id: int, work: Work[object]) -> None:
        if kind == "write":
            await threads.write(user_id, object(), work)
        else:
            await getattr(threads, kind)(user_id, work)

    def slow(session: Session) -> None:
        for _ in range(4):
            session.execute(text("SELECT pg_sleep(0.4)"))

    async def others() -> None:
        first = [asyncio.create_task(run(1, slow)) for _ in range(3)]
        await asyncio.wait(first, timeout=0.6)  # a read is unavailable by now; its thread is not
        again = [asyncio.create_task(run(1, slow)) for _ in range(3)]
        await asyncio.sleep(0)
        async with asyncio.timeout(limited.answer_timeout_seconds):
            await run(2, lambda session: session.execute(text("SELECT 1")))
        assert not any(one.done() for one in again)
        await asyncio.gather(*first, *again, return_exceptions=True)

    asyncio.run(others())
    threads.close()
    engine.dispose()


def test_a_flood_of_reads_delays_only_its_own_users(settings: Settings) -> None:
    engine = open_engine(settings, "test", pool_size=connections_of(settings))
    threads = DatabaseThreads(engine, settings, lambda _events: None)

    def slow(session: Session) -> None:
        session.execute(text("SELECT pg_sleep(0.2)"))

    async def others() -> None:
        flood = [asyncio.create_task(threads.read(user, slow)) for user in (1, 2, 3) * 20]
        await asyncio.sleep(0)
        await threads.read(4, lambda session: session.execute(text("SELECT 1")))
        assert sum(one.done() for one in flood) < 10 + sum(map(is_refused, flood))
        await asyncio.gather(*flood, return_exceptions=True)

    def is_refused(read: asyncio.Task[None]) -> bool:
        return read.done() and isinstance(read.exception(), Unavailable)

    asyncio.run(others())
    threads.close()
    engine.dispose()
