"""Resolutions wait in a class of their own, and are decided before the purchases of the event."""

from collections.abc import Iterable

import pytest
from msgspec.structs import replace
from psycopg2.extensions import cursor
from sqlalchemy import Engine

from purchase_worker import store
from purchase_worker.audit.all_events import audit
from purchase_worker.decision import NOT_ENOUGH_TICKETS
from purchase_worker.drain import Batch, drain
from purchase_worker.store import Lane
from shared.config.settings import Settings
from shared.database.engine import roll_back
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_users,
    counter,
    event_of,
    ignore,
    issue,
    outcomes,
    queue,
    queue_issue,
    queue_many,
    request,
    rows,
)


@pytest.fixture
def by_tens(settings: Settings) -> Settings:
    return settings.model_copy(update={"drain_batch_rows": 10, "drain_close_rows": 10})


def entries(engine: Engine, *command_ids: str) -> list[tuple[str, str | None, int, int]]:
    """Kind, reason, change and what was left, in the order of the ledger."""
    return [
        (kind, reason, change, left)
        for id_, kind, reason, change, left in rows(
            engine,
            "SELECT command_id::text, kind::text, reason::text, change, left_after FROM ledger"
            " ORDER BY event_id, number",
        )
        if id_ in command_ids
    ]


@pytest.mark.parametrize("capacity", [100, 0], ids=["on sale", "sold out"])
def test_a_resolution_is_decided_by_the_next_batch_however_many_purchases_are_queued(
    engine: Engine, by_tens: Settings, capacity: int
) -> None:
    ticket_type = add_ticket_type(engine, 1)
    queue_many(engine, ticket_type, 1_000)
    issue(engine, ticket_type, capacity - 1)
    event = event_of(engine, ticket_type)
    command_ids: list[str] = []
    batches: list[Batch] = []

    def publish(batch: Batch) -> None:
        batches.append(batch)
        if len(batches) == 3:
            command_ids.append(queue_issue(engine, ticket_type, 7))

    drain(engine, [event], by_tens.model_copy(update={"drain_max_batches": 4}), publish)
    last = [entry.command.id for _, _, entry in batches[-1].decided]
    assert last[0] == command_ids[0]
    assert len(last) == 10
    left = capacity - 30 if capacity else 0
    assert entries(engine, *command_ids) == [("issued", None, 7, left + 7)]
    assert audit(engine, by_tens).ok


def test_no_purchase_is_decided_while_a_resolution_waits(engine: Engine, by_tens: Settings) -> None:
    """More of them than a batch has room for, and an event that is sold out until the last."""
    ticket_type = add_ticket_type(engine, 12)
    queue_many(engine, ticket_type, 5)
    ids = [queue_issue(engine, ticket_type, -1) for _ in range(12)]
    ids.append(queue_issue(engine, ticket_type, 3))
    batches: list[Batch] = []
    drain(engine, [event_of(engine, ticket_type)], by_tens, batches.append)
    decided = [entry.command.id for batch in batches for _, _, entry in batch.decided]
    assert decided[: len(ids)] == ids
    assert [batch.rows for batch in batches] == [10, 8]
    assert counter(engine, ticket_type) == (3, 3)
    assert audit(engine, by_tens).ok


def test_more_than_is_left_is_not_withdrawn(engine: Engine, settings: Settings) -> None:
    """Refused whole: it is answered, and changes nothing."""
    ticket_type = add_ticket_type(engine, 3)
    event = event_of(engine, ticket_type)
    other = add_ticket_type(engine, 9, event_id=event)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 2)])
    drain(engine, [event], settings, ignore)
    ids = [queue_issue(engine, ticket_type, change) for change in (-2, -1, -1, 2)]
    ids.append(queue_issue(engine, other, -9))
    drain(engine, [event], settings, ignore)
    assert entries(engine, *ids) == [
        ("refused", NOT_ENOUGH_TICKETS, 0, 1),
        ("withdrawn", None, -1, 0),
        ("refused", NOT_ENOUGH_TICKETS, 0, 0),
        ("issued", None, 2, 2),
        ("withdrawn", None, -9, 0),
    ]
    assert (counter(engine, ticket_type), counter(engine, other)) == ((4, 2), (0, 0))
    assert rows(engine, "SELECT * FROM work_list") == []
    assert audit(engine, settings).ok


def test_a_sold_out_event_is_closed_no_further_when_tickets_are_issued(
    engine: Engine, by_tens: Settings
) -> None:
    ticket_type = add_ticket_type(engine, 1)
    event = event_of(engine, ticket_type)
    ids = queue(engine, [request(user, ticket_type) for user in add_users(engine, 30)])
    issue(engine, ticket_type, -1)

    def issue_two(batch: Batch) -> None:
        if batch.parts[0].before.number == 2:
            issue(engine, ticket_type, 2)

    drain(engine, [event], by_tens, issue_two)
    sold = [id_ for id_, status, _ in outcomes(engine, ticket_type) if status == "confirmed"]
    assert sold == ids[10:12]
    assert audit(engine, by_tens).ok


@pytest.mark.parametrize("of_another_type", [False, True])
def test_tickets_issued_while_the_lane_is_being_locked_are_sold(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, of_another_type: bool
) -> None:
    """The statement that locks may have begun before they were issued, and see a sold-out event."""
    sold_out = add_ticket_type(engine, 1)
    event = event_of(engine, sold_out)
    other = add_ticket_type(engine, 1, event_id=event)
    wanted = other if of_another_type else sold_out
    queue(engine, [request(user, wanted) for user in add_users(engine, 2)])
    for ticket_type in (sold_out, other):
        issue(engine, ticket_type, -1)
    begin = store.begin

    def begin_late(cursor: cursor, event_ids: Iterable[int], *, whole: bool) -> list[Lane]:
        monkeypatch.setattr(store, "begin", begin)
        (seen,) = begin(cursor, event_ids, whole=whole)
        roll_back(cursor)
        issue(engine, wanted, 1)
        (locked,) = begin(cursor, [seen.event_id], whole=whole)
        # PostgreSQL reads the lane anew when it has its lock, and its counters not.
        assert (seen.sold_out, locked.sold_out) == (True, False)
        return [replace(locked, sold_out=True)]

    monkeypatch.setattr(store, "begin", begin_late)
    drain(engine, [event], settings, ignore)
    assert [status for _, status, _ in outcomes(engine, wanted)] == ["confirmed", "rejected"]
    assert audit(engine, settings).ok


def test_a_resolution_of_one_event_does_not_hold_up_another(
    engine: Engine, by_tens: Settings
) -> None:
    """In one transaction, too."""
    resolved, other = add_ticket_type(engine, 1), add_ticket_type(engine, 5)
    queue_issue(engine, resolved, 1)
    queue(engine, [request(user, other) for user in add_users(engine, 3)])
    queue(engine, [request(user, resolved) for user in add_users(engine, 3)])
    empty = add_event(engine)
    batches: list[Batch] = []
    events = [event_of(engine, resolved), event_of(engine, other), empty]
    drain(engine, events, by_tens, batches.append)
    assert [batch.rows for batch in batches] == [7]
    assert counter(engine, resolved) == (2, 2)
    assert counter(engine, other) == (5, 3)
    assert audit(engine, by_tens).ok
