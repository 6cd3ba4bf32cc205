"""Tickets are issued and withdrawn as entries of their event's ledger, also during a sale."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import msgspec
import pytest
import redis
from redis.client import PubSub
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from catalog.events import store as event_store
from catalog.ticket_types import change as use
from catalog.ticket_types.rules import MAX_CAPACITY
from catalog.ticket_types.store import lock, set_audit_user
from catalog.transactions import session_transaction
from gateway.purchases.accept import Accepted
from purchase_worker.audit.all_events import audit
from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.errors import InvalidInput, NotFound
from shared.purchases import DECIDED_CHANNEL, DecidedBatch
from tests.integration.catalog.making import (
    EVENT,
    TICKET_TYPE,
    etag_of,
    make_event,
    make_ticket_type,
    path_of,
    sell,
    user_id_of,
)
from tests.support.factories import (
    accept,
    add_event,
    add_ticket_type,
    add_user,
    add_users,
    counter,
    event_of,
    ignore,
    queue,
    queue_buy,
    queue_resolution,
    request,
    rows,
    scalar,
)
from tests.support.waiting import until_sessions_wait

# Of an event, in order: kind, ticket type, change, what was left, and in whose name.
ENTRIES = """
SELECT e.kind::text, e.ticket_type_id, e.change, e.left_after, r.user_id
FROM ledger e JOIN requests r ON r.id = e.command_id AND r.event_id = e.event_id
WHERE e.event_id = :event ORDER BY e.number
"""
# Of an event: its batches, and whether each saw its command, which came before it.
RECORDS = """
SELECT b.first_number, b.last_number, b.decided_by, b.at >= r.created_at,
       pg_snapshot_xmin(b.seen) <= r.accepted_xid
FROM batches b JOIN ledger e ON e.event_id = b.event_id AND e.number = b.first_number
JOIN requests r ON r.id = e.command_id WHERE b.event_id = :event ORDER BY b.first_number
"""


def entries(engine: Engine, event: int) -> list[tuple[str, int, int, int, int | None]]:
    return rows(engine, ENTRIES, event=event)


def announced(messages: PubSub, count: int) -> list[list[int]]:
    """The events that the next messages name."""
    found: list[list[int]] = []
    while len(found) < count:
        message = messages.get_message(ignore_subscribe_messages=True, timeout=5)
        assert message is not None, found
        found.append(msgspec.msgpack.decode(message["data"], type=DecidedBatch).events)
    return found


# --- what is written ---


def test_each_change_of_capacity_is_an_entry_in_the_users_name(
    owner: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner, capacity=5)
    path, id_, me = path_of(ticket_type), ticket_type["id"], user_id_of(owner)
    owner.post(f"{path}capacity/", json={"change": 3})
    owner.post(f"{path}capacity/", json={"change": -8})
    owner.patch(path, json={"capacity": 2})
    owner.patch(path, json={"capacity": 2})  # no change, and no entry
    owner.put(path, json=TICKET_TYPE | {"event": ticket_type["event"], "capacity": 1})
    assert entries(database, ticket_type["event"]) == [
        ("issued", id_, 5, 5, me),
        ("issued", id_, 3, 8, me),
        ("withdrawn", id_, -8, 0, me),
        ("issued", id_, 2, 2, me),
        ("withdrawn", id_, -1, 1, me),
    ]
    assert counter(database, id_) == (1, 0)


def test_entries_are_announced_to_who_waits_for_them(
    owner: httpx.Client, redis_client: redis.Redis
) -> None:
    event, other = (make_event(owner)["id"] for _ in range(2))
    with redis_client.pubsub() as messages:
        messages.subscribe(DECIDED_CHANNEL)
        assert messages.get_message(timeout=5)
        ticket_type = make_ticket_type(owner, event=event, capacity=5)
        path = path_of(ticket_type)
        owner.post(f"{path}capacity/", json={"change": 3})
        owner.patch(path, json={"event": other})
        owner.delete(path)
        assert announced(messages, 4) == [[event], [event], [event, other], [other]]


def test_each_change_of_capacity_has_a_batch_of_the_catalogs(
    owner: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner, capacity=5)
    owner.post(f"{path_of(ticket_type)}capacity/", json={"change": -2})
    assert rows(database, RECORDS, event=ticket_type["event"]) == [
        (number, number, "eventify-catalog", True, True) for number in (1, 2)
    ]
    lane = "SELECT number FROM lanes WHERE event_id = :event"
    assert scalar(database, lane, event=ticket_type["event"]) == 2


def test_a_ticket_type_without_tickets_has_no_entry(owner: httpx.Client, database: Engine) -> None:
    ticket_type = make_ticket_type(owner, capacity=0)
    assert entries(database, ticket_type["event"]) == []
    assert counter(database, ticket_type["id"]) == (0, 0)


def test_what_is_refused_leaves_no_entry(owner: httpx.Client, database: Engine) -> None:
    ticket_type = make_ticket_type(owner, capacity=5)
    path = path_of(ticket_type)
    before = entries(database, ticket_type["event"])
    assert owner.post(f"{path}capacity/", json={"change": -6}).status_code == 400
    late = {"If-Match": '"late"'}
    assert owner.patch(path, json={"capacity": 9}, headers=late).status_code == 412
    assert owner.patch(path, json={"capacity": 9, "event": 999_999_999}).status_code == 400
    assert entries(database, ticket_type["event"]) == before


def test_tickets_come_back_also_where_as_many_are_left_as_there_may_be(
    owner: httpx.Client, database: Engine, catalog_settings: Settings
) -> None:
    """Their owner had put others in the place of those that were held or sold."""
    ticket_type = make_ticket_type(owner, capacity=MAX_CAPACITY)
    path, id_, event = path_of(ticket_type), ticket_type["id"], ticket_type["event"]

    def change(by: int) -> httpx.Response:
        return owner.post(f"{path}capacity/", json={"change": by})

    held, paid = (queue_buy(database, [(id_, 2)], hold_seconds=600) for _ in range(2))
    drain(database, [event], catalog_settings, ignore)
    queue_resolution(database, "confirm", paid, payment_reference="pi")
    drain(database, [event], catalog_settings, ignore)
    assert change(5).status_code == 400
    assert change(4).json()["capacity"] == MAX_CAPACITY
    queue_resolution(database, "release", held)
    line = f'[{{"ticket_type": {id_}, "quantity": 2}}]'
    queue_resolution(database, "cancel", paid, items=line, restock=True)
    drain(database, [event], catalog_settings, ignore)
    assert owner.get(path).json()["capacity"] == MAX_CAPACITY + 4
    assert counter(database, id_) == (MAX_CAPACITY + 4, 0)
    # To so many none are added; some may be withdrawn.
    assert change(1).status_code == 400
    assert change(-3).json()["capacity"] == MAX_CAPACITY + 1


def test_what_is_left_of_a_deleted_ticket_type_is_withdrawn(
    owner: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner, capacity=5)
    id_, me = ticket_type["id"], user_id_of(owner)
    assert owner.delete(path_of(ticket_type)).status_code == 204
    assert entries(database, ticket_type["event"]) == [
        ("issued", id_, 5, 5, me),
        ("withdrawn", id_, -5, 0, me),
    ]


def test_a_deleted_event_leaves_its_ledger_with_everything_withdrawn(
    owner: httpx.Client, database: Engine
) -> None:
    event, me = make_event(owner)["id"], user_id_of(owner)
    first, second, empty = (
        make_ticket_type(owner, event=event, capacity=n)["id"] for n in (5, 7, 0)
    )
    assert owner.delete(f"/api/events/{event}/").status_code == 204
    written = entries(database, event)
    assert written[:2] == [("issued", first, 5, 5, me), ("issued", second, 7, 7, me)]
    assert sorted(written[2:]) == [
        ("withdrawn", first, -5, 0, me),
        ("withdrawn", second, -7, 0, me),
    ]
    assert empty not in {entry[1] for entry in written}
    lane = "SELECT number FROM lanes WHERE event_id = :event"
    assert scalar(database, lane, event=event) == 4
    left = "SELECT count(*) FROM counters WHERE event_id = :event"
    assert scalar(database, left, event=event) == 0


@pytest.mark.parametrize("to", ["an older event", "a newer event"])
def test_a_moved_ticket_type_is_withdrawn_there_and_issued_here(
    owner: httpx.Client, database: Engine, to: str
) -> None:
    older, newer = make_event(owner)["id"], make_event(owner)["id"]
    there, here = (newer, older) if to == "an older event" else (older, newer)
    ticket_type = make_ticket_type(owner, event=there, capacity=5)
    id_, me = ticket_type["id"], user_id_of(owner)
    assert owner.patch(path_of(ticket_type), json={"event": here}).json()["capacity"] == 5
    assert entries(database, there) == [("issued", id_, 5, 5, me), ("withdrawn", id_, -5, 0, me)]
    assert entries(database, here) == [("issued", id_, 5, 5, me)]
    counted = "SELECT event_id, issued, sold FROM counters WHERE ticket_type_id = :id"
    assert rows(database, counted, id=id_) == [(here, 5, 0)]


def test_a_move_may_change_the_capacity_as_well(owner: httpx.Client, database: Engine) -> None:
    here = make_event(owner)["id"]
    ticket_type = make_ticket_type(owner, capacity=5)
    id_, me = ticket_type["id"], user_id_of(owner)
    moved = owner.patch(path_of(ticket_type), json={"event": here, "capacity": 3})
    assert (moved.json()["event"], moved.json()["capacity"]) == (here, 3)
    assert entries(database, here) == [("issued", id_, 5, 5, me), ("withdrawn", id_, -2, 3, me)]


def test_a_moved_ticket_type_sells_in_the_lane_of_its_new_event(
    engine: Engine, settings: Settings
) -> None:
    ticket_type, user = add_ticket_type(engine, 2), add_user(engine)
    before = event_of(engine, ticket_type)
    after = add_event(engine, scalar(engine, "SELECT owner_id FROM events"))
    move(engine, ticket_type, after)
    queue(engine, [request(user, ticket_type) for _ in range(3)])
    assert drain(engine, [before], settings, ignore).decided == 0
    assert drain(engine, [after], settings, ignore).decided == 3
    assert counter(engine, ticket_type) == (2, 2)
    assert audit(engine, settings).ok


def test_nothing_of_a_sale_is_deleted_or_moved(owner: httpx.Client, database: Engine) -> None:
    ticket_type, elsewhere = make_ticket_type(owner, capacity=5), make_event(owner)["id"]
    sell(database, ticket_type["id"], user_id_of(owner), 1)
    before = entries(database, ticket_type["event"])
    path = path_of(ticket_type)
    for answer in (
        owner.delete(path),
        owner.delete(f"/api/events/{ticket_type['event']}/"),
        owner.patch(path, json={"event": elsewhere}),
    ):
        assert answer.status_code == 409
    assert entries(database, ticket_type["event"]) == before
    assert entries(database, elsewhere) == []


# --- two at once ---


@dataclass(frozen=True)
class Sale:
    """Two events of one owner, the older first, with a ticket type of each."""

    engine: Engine
    owner: int
    events: tuple[int, int]
    ticket_types: tuple[int, int]


@pytest.fixture
def sale(engine: Engine) -> Sale:
    owner = add_user(engine)
    older, newer = add_event(engine, owner), add_event(engine, owner)
    first, second = (add_ticket_type(engine, 5, event_id=event) for event in (older, newer))
    return Sale(engine, owner, (older, newer), (first, second))


def move(engine: Engine, ticket_type: int, event: int) -> None:
    with session_transaction(engine) as session:
        stored = use.lock_for_change(session, ticket_type, {"event": event})
        use.check_change(session, stored, {"event": event}, None)
        use.change(session, stored, {"event": event}, stored.owner_id)


def change_capacity(engine: Engine, ticket_type: int, by: int) -> None:
    with session_transaction(engine) as session:
        stored = lock(session, ticket_type)
        use.change_capacity(session, stored, by, stored.owner_id)


def lock_lane(session: Session, event: int) -> None:
    session.connection().exec_driver_sql(
        "SELECT FROM lanes WHERE event_id = %(event)s FOR NO KEY UPDATE", {"event": event}
    )


def one_after_another(sale: Sale, held: int, *changes: Callable[[], None]) -> None:
    """Start the changes while the lane of `held` is locked, each once the one before it waits."""
    with ThreadPoolExecutor(len(changes)) as pool:
        with Session(sale.engine) as session:
            lock_lane(session, held)
            under_way = []
            for number, change in enumerate(changes, 1):
                under_way.append(pool.submit(change))
                until_sessions_wait(sale.engine, number)
        for change_under_way in under_way:
            change_under_way.result()


@pytest.mark.parametrize("held", [0, 1], ids=["older", "newer"])
def test_two_moves_that_cross_do_not_wait_for_each_other(sale: Sale, held: int) -> None:
    """A deadlock would be RowLocked in one of them."""
    (older, newer), (first, second) = sale.events, sale.ticket_types
    one_after_another(
        sale,
        sale.events[held],
        lambda: move(sale.engine, first, newer),
        lambda: move(sale.engine, second, older),
    )
    assert (event_of(sale.engine, first), event_of(sale.engine, second)) == (newer, older)
    assert [entry[:3] for entry in entries(sale.engine, older)] == [
        ("issued", first, 5),
        ("withdrawn", first, -5),
        ("issued", second, 5),
    ]


def test_moves_to_and_fro_all_come_about(sale: Sale) -> None:
    def to_and_fro(number: int) -> None:
        for turn in range(10):
            move(sale.engine, sale.ticket_types[number], sale.events[(number + 1 + turn) % 2])

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(to_and_fro, number) for number in (0, 1)]:
            done.result()
    for event, ticket_type in zip(sale.events, sale.ticket_types, strict=True):
        assert event_of(sale.engine, ticket_type) == event
        assert counter(sale.engine, ticket_type) == (5, 0)
        # Each moves away and back five times: two entries of either, in each of the two events.
        assert len(entries(sale.engine, event)) == 21


@pytest.mark.parametrize("first", ["the deletion", "the other"])
@pytest.mark.parametrize("other", ["a change of capacity", "a move into it"])
def test_an_event_is_deleted_beside_other_changes_without_a_deadlock(
    sale: Sale, first: str, other: str
) -> None:
    (_older, newer), (moving, staying) = sale.events, sale.ticket_types

    def change() -> None:
        if other == "a move into it":
            move(sale.engine, moving, newer)
        else:
            change_capacity(sale.engine, staying, 1)

    def delete() -> None:
        with session_transaction(sale.engine) as session:
            event = event_store.lock_for_deletion(session, newer)
            set_audit_user(session, sale.owner)
            session.delete(event)

    if first == "the deletion":
        with pytest.raises((NotFound, InvalidInput)):
            one_after_another(sale, newer, delete, change)
    else:
        one_after_another(sale, newer, change, delete)
    assert rows(sale.engine, "SELECT id FROM events WHERE id = :id", id=newer) == []


# --- during a sale ---


def test_changes_of_capacity_during_a_sale_agree_with_its_counters(
    owner: httpx.Client, database: Engine, catalog_settings: Settings
) -> None:
    ticket_type = make_ticket_type(owner, capacity=20)
    id_, event, path = ticket_type["id"], ticket_type["event"], path_of(ticket_type)
    users = add_users(database, 10)

    def change_all() -> list[int]:
        changes = [7, -4, 5, -9, 12, -3, 8, -30, 6]
        return [
            change
            for change in changes
            if owner.post(f"{path}capacity/", json={"change": change}).status_code == 200
        ]

    bought = 0
    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(change_all)
        while not changing.done():
            verdicts = accept(database, [request(user, id_, 1 + user % 3) for user in users])
            bought += sum(isinstance(verdict, Accepted) for verdict in verdicts)
            drain(database, [event], catalog_settings, ignore)
        changed = changing.result()
    assert bought
    drain(database, [event], catalog_settings, ignore)

    written = entries(database, event)
    issued = [entry[2] for entry in written if entry[0] in ("issued", "withdrawn")]
    assert issued == [20, *changed]
    assert len(written) == len(issued) + bought
    left = 0
    for _kind, _ticket_type, change, left_after, _user in written:
        left += change
        assert left == left_after
    sold = -sum(entry[2] for entry in written if entry[0] == "confirmed")
    assert counter(database, id_) == (sum(issued), sold)
    shown = owner.get(path).json()
    assert (shown["capacity"], shown["sold"]) == (sum(issued) - sold, sold)


def test_a_capacity_that_is_set_counts_what_is_sold(owner: httpx.Client, database: Engine) -> None:
    ticket_type = make_ticket_type(owner, capacity=10)
    id_, path = ticket_type["id"], path_of(ticket_type)
    sell(database, id_, user_id_of(owner), 4)
    read = {"If-Match": etag_of(owner, path)}
    assert owner.patch(path, json={"capacity": 1}, headers=read).json()["sold"] == 4
    assert counter(database, id_) == (5, 4)
    assert [entry[:4] for entry in entries(database, ticket_type["event"])] == [
        ("issued", id_, 10, 10),
        ("confirmed", id_, -4, 6),
        ("withdrawn", id_, -5, 1),
    ]


def test_what_is_held_is_taken_but_not_sold(owner: httpx.Client, database: Engine) -> None:
    ticket_type = make_ticket_type(owner, capacity=10, hold_seconds=600)
    id_, path = ticket_type["id"], path_of(ticket_type)
    before = etag_of(owner, path)
    sell(database, id_, user_id_of(owner), 4)
    assert owner.get(path).json() == ticket_type | {"capacity": 6, "sold": 0, "issued": 10}
    answer = owner.post(f"{path}capacity/", json={"change": -7})
    assert answer.json()["errors"] == {"change": ["Cannot withdraw 7 tickets: 6 are left."]}
    statuses = [
        owner.patch(path, json={"capacity": 1}, headers=headers).status_code
        for headers in ({}, {"If-Match": before}, {"If-Match": etag_of(owner, path)})
    ]
    assert statuses == [428, 412, 200]
    after = owner.patch(path, json={"hold_seconds": None}).json()
    changed = {"capacity": 1, "issued": 5, "hold_seconds": None, "updated_at": after["updated_at"]}
    assert after == ticket_type | changed


def test_a_ticket_type_is_updated_by_its_owner_and_not_by_sales(
    owner: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner, capacity=10)
    path = path_of(ticket_type)
    elsewhere = owner.post("/api/events/", json=EVENT).json()["id"]
    times = [ticket_type["updated_at"]]
    assert ticket_type["created_at"] == times[0]
    for change in (
        lambda: owner.post(f"{path}capacity/", json={"change": 5}),
        lambda: owner.patch(path, json={"capacity": 9}),
        lambda: owner.patch(path, json={"price": "9.00"}),
        lambda: owner.patch(path, json={"event": elsewhere}),
        lambda: owner.post(f"{path}pause/"),
        lambda: owner.post(f"{path}resume/"),
    ):
        changed = change()
        assert changed.status_code == 200, changed.text
        assert changed.json() == owner.get(path).json()
        assert changed.json()["created_at"] == ticket_type["created_at"]
        times.append(changed.json()["updated_at"])
    assert times == sorted(set(times))
    sell(database, ticket_type["id"], user_id_of(owner), 4)
    # Nor by what changes nothing.
    for nothing in ({}, {"price": "9.00"}, {"created_at": "2030-01-01T00:00:00Z"}):
        assert owner.patch(path, json=nothing).json()["updated_at"] == times[-1]
