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

from catalog.lanes import Lanes, connections_of
from shared.concurrency.keyed_limit import Turns
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.errors import Unavailable
from tests.integration.catalog.making import (
    EVENT,
    TICKET_TYPE,
    make_event,
    make_ticket_type,
    path_of,
    sell,
    user_id_of,
)

PAGE_MAX_BYTES = 300_000


@contextmanager
def locked(database: Engine, *ticket_types: dict[str, Any]) -> Iterator[None]:
    """Another session holds the counters, the ticket types and their events."""
    with database.connect() as connection:
        for table, column, key in (
            ("ticket_inventory", "ticket_type_id", "id"),
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
            _until_the_catalog_waits(database)
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


def test_an_owner_who_hammers_leaves_the_counter_to_the_sale(
    owner: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner)
    path = f"{path_of(ticket_type)}capacity/"
    look = text(
        "SELECT 1 FROM ticket_inventory WHERE ticket_type_id = :id FOR NO KEY UPDATE SKIP LOCKED"
    )
    with ThreadPoolExecutor(8) as pool:
        hammering = [pool.submit(_hammer, owner, path) for _ in range(8)]
        looks = got = 0
        while not all(one.done() for one in hammering):
            with database.begin() as connection:
                got += connection.execute(look, {"id": ticket_type["id"]}).first() is not None
            looks += 1
    assert sum(one.result() for one in hammering) > 8
    # Without the gaps it is a sixth; beside other work on the machine about half.
    assert got > 0.3 * looks


def _hammer(owner: httpx.Client, path: str) -> int:
    """How many of these changes were made."""
    return sum(owner.post(path, json={"change": 1}).status_code == 200 for _ in range(8))


# --- searches and lists ---


def test_a_slow_search_ends_and_takes_nobodys_connection(settings: Settings) -> None:
    limited = settings.model_copy(update={"catalog_list_timeout_ms": 200})
    engine = open_engine(limited, "test", pool_size=connections_of(limited))
    lanes = Lanes(engine, limited)

    async def search(user_id: int) -> None:
        with pytest.raises(Unavailable) as refusal:
            await lanes.search(user_id, lambda session: session.execute(text("SELECT pg_sleep(9)")))
        assert int(refusal.value.headers["Retry-After"]) > 0

    async def others() -> None:
        searching = [asyncio.create_task(search(user)) for user in (1, 1, 1, 1, 2, 3)]
        await asyncio.sleep(0)
        for lane in (lanes.read, partial(lanes.list, 1), lanes.ready):
            await lane(lambda session: session.execute(text("SELECT 1")))
        await lanes.write("row", lambda session: session.execute(text("SELECT 1")))
        assert not all(one.done() for one in searching)
        await asyncio.gather(*searching)

    asyncio.run(others())
    lanes.close()
    engine.dispose()


def test_one_users_slow_lists_leave_the_others_a_thread(settings: Settings) -> None:
    engine = open_engine(settings, "test", pool_size=connections_of(settings))
    lanes = Lanes(engine, settings)

    def slow(session: Session) -> None:
        session.execute(text("SELECT pg_sleep(0.5)"))

    async def others() -> None:
        listing = [asyncio.create_task(lanes.list(1, slow)) for _ in range(4)]
        await asyncio.sleep(0)
        await lanes.list(2, lambda session: session.execute(text("SELECT 1")))
        assert not any(one.done() for one in listing)
        await asyncio.gather(*listing)

    asyncio.run(others())
    lanes.close()
    engine.dispose()


@pytest.mark.parametrize(("words", "status"), [(10, 200), (11, 400), (100, 400)])
def test_a_search_has_few_words(owner: httpx.Client, words: int, status: int) -> None:
    answer = owner.get("/api/events/", params={"search": " ".join("b" * words)})
    assert answer.status_code == status
    assert status == 200 or list(answer.json()["errors"]) == ["search"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_description_is_bounded(owner: httpx.Client, method: str) -> None:
    path = "/api/events/" if method == "POST" else f"/api/events/{make_event(owner)['id']}/"
    longest = owner.request(method, path, json=EVENT | {"description": "x" * 10_000})
    assert longest.status_code in (200, 201)
    answer = owner.request(method, path, json=EVENT | {"description": "x" * 10_001})
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["description"])


def test_a_longer_description_of_old_stays(owner: httpx.Client, database: Engine) -> None:
    path = f"/api/events/{make_event(owner)['id']}/"
    old = "x" * 60_000
    _describe(database, owner, old)
    assert owner.get(path).json()["description"] == old
    changed = owner.patch(path, json={"title": "Renamed"})
    assert (changed.status_code, changed.json()["description"]) == (200, old)


@pytest.mark.parametrize("page_size", [100, 97, 20, 7])
@pytest.mark.parametrize("letter", ["x", "é", "\\", "\x01"], ids=["x", "é", "backslash", "control"])
def test_a_page_is_bounded_in_bytes_and_leads_to_every_row(
    owner: httpx.Client, database: Engine, page_size: int, letter: str
) -> None:
    made = [make_event(owner)["id"] for _ in range(12)]
    _describe(database, owner, letter * 30_000)
    # Some short ones among them, so that pages of different length follow one another.
    for event_id in made[4:8]:
        assert owner.patch(f"/api/events/{event_id}/", json={"description": ""}).status_code == 200
    url = f"/api/events/?owner=me&page_size={page_size}"
    seen: list[int] = []
    while url is not None:
        answer = owner.get(url)
        assert len(answer.content) < PAGE_MAX_BYTES
        page = answer.json()
        assert page["count"] == 12
        seen += [event["id"] for event in page["results"]]
        last, url = page, page["next"]
    assert seen == made
    # And back again.
    back = [event["id"] for event in last["results"]]
    while last["previous"] is not None:
        last = owner.get(last["previous"]).json()
        back = [event["id"] for event in last["results"]] + back
    assert sorted(set(back)) == made


def _describe(database: Engine, owner: httpx.Client, description: str) -> None:
    """As it was before descriptions were bounded."""
    with database.begin() as connection:
        connection.execute(
            text("UPDATE events SET description = :description WHERE owner_id = :owner"),
            {"description": description, "owner": user_id_of(owner)},
        )


# --- turns ---


def test_a_turn_is_one_at_a_time_with_a_gap() -> None:
    turns = Turns(1, waiting_max=10, wait_seconds=20, gap_seconds=0.02)
    ends = [float("-inf")]

    async def take() -> None:
        async with turns.of("row"):
            assert time.monotonic() - ends[-1] >= 0.019
            await asyncio.sleep(0)
            ends.append(time.monotonic())

    async def all_of_them() -> None:
        await asyncio.gather(*(take() for _ in range(5)))
        await take()  # alone, and yet right after the last one

    asyncio.run(all_of_them())
    assert len(ends) == 7


def test_turns_of_other_keys_wait_for_nothing_and_keys_are_forgotten() -> None:
    turns = Turns(1, waiting_max=0, wait_seconds=20)

    async def nested() -> None:
        async with turns.of(1), turns.of(2):
            with pytest.raises(Unavailable):
                async with turns.of(1):
                    pass
        async with turns.of(1):
            pass

    asyncio.run(nested())
    assert not turns._queues


def test_a_turn_that_does_not_come_is_refused() -> None:
    turns = Turns(2, waiting_max=1, wait_seconds=0.05)

    async def third() -> None:
        async with turns.of(1), turns.of(1):
            with pytest.raises(Unavailable):
                async with turns.of(1):
                    pass

    asyncio.run(third())


def _until_the_catalog_waits(database: Engine) -> None:
    waits = text(
        "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'eventify-catalog' AND wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with database.connect() as connection:
            if connection.execute(waits).first() is not None:
                return
    raise AssertionError("the catalog waits for no lock")
