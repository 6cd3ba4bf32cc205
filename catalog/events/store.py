"""The catalog's SQL for events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, tuple_
from sqlalchemy.event import listens_for
from sqlalchemy.orm import Session

from catalog.list_pages import count_of, first_that_fit, in_pages_of, rows_that_fit
from catalog.transactions import ledgers_of
from shared.database.tables import Event, Lane, Request
from shared.errors import NotFound
from shared.text import folded, searchable
from shared.web.cursors import Id, Text, Time
from shared.web.pagination import PageWanted

# Bytes of an event in JSON, besides its texts.
OTHER_BYTES = 450
# PostgreSQL knows the length of a long text without reading it.
SIZE = OTHER_BYTES + (
    func.octet_length(Event.title)
    + func.octet_length(Event.description)
    + func.octet_length(Event.notice)
    + func.coalesce(func.octet_length(Event.payment_url), 0)
)


def matching(
    *, search: str, owner_id: int | None, starts_after: datetime | None, ordering: str
) -> Select[Event]:
    """The events of a list, in its order.

    Each word of `search` must occur in the title or the description, in any case of letters and
    any normal form. `ordering` is a column's name, with `-` before it for the reverse.
    """
    wanted = select(Event).where(*(_has_word(word) for word in folded(search).split()))
    if owner_id is not None:
        wanted = wanted.where(Event.owner_id == owner_id)
    if starts_after is not None:
        wanted = wanted.where(Event.start_time > starts_after)
    column = Event.__table__.c[ordering.removeprefix("-")]
    order = column.desc() if ordering.startswith("-") else column.asc()
    # The id makes the order total, so no event is on two pages.
    return wanted.order_by(order, Event.id)


def _has_word(word: str) -> ColumnElement[bool]:
    return or_(
        Event.search_text.contains(word, autoescape=True),
        and_(
            Event.search_text.is_(None),
            or_(
                Event.title.icontains(word, autoescape=True),
                Event.description.icontains(word, autoescape=True),
            ),
        ),
    )


@listens_for(Event, "before_insert")
@listens_for(Event, "before_update")
def _keep_search_text(_mapper: object, _connection: object, event: Event) -> None:
    event.search_text = searchable(event.title, event.description or "")


def page(
    session: Session, wanted: Select[Event], page_wanted: PageWanted
) -> tuple[int, PageWanted, Sequence[Event]]:
    """The number of all events, the page that is answered, and its events.

    It is the wanted page, or one that begins there and has fewer rows, because descriptions may be
    long.

    Raises:
        NotFound: the page is beyond the end.
    """
    count = count_of(session, wanted)
    offset = page_wanted.offset(count)
    rows = session.execute(
        wanted.with_only_columns(Event.id, SIZE).offset(offset).limit(page_wanted.size)
    ).all()
    size = rows_that_fit(offset, [row[1] for row in rows])
    answered = page_wanted if size == len(rows) else in_pages_of(page_wanted, size)
    ids = [row[0] for row in rows[:size]]
    found = _by_id(session, ids)
    return count, answered, [found[id_] for id_ in ids if id_ in found]


def key_of(ordering: str) -> tuple[Any, ...]:
    """The kinds of the values of a list's sort key."""
    kinds = {"id": (Id,), "title": (Text, Id)}
    return kinds.get(ordering.removeprefix("-"), (Time, Id))


def page_after(
    session: Session, wanted: Select[Event], ordering: str, last: tuple[Any, ...] | None, size: int
) -> tuple[list[tuple[tuple[Any, ...], Event]], tuple[Any, ...] | None]:
    """The events that follow a sort key, each with its own, as many as fit; and the last sort key,
    if more follow.
    """
    column = Event.__table__.c[ordering.removeprefix("-")]
    keys = (column,) if column.name == "id" else (column, Event.__table__.c.id)
    if last is not None:
        wanted = wanted.where(_follows(keys, last, descends=ordering.startswith("-")))
    rows = session.execute(wanted.with_only_columns(SIZE, *keys).limit(size + 1)).all()
    fitting = first_that_fit([row[0] for row in rows[:size]])
    found = [tuple(row[1:]) for row in rows[:fitting]]
    events = _by_id(session, [key[-1] for key in found])
    page = [(key, events[key[-1]]) for key in found if key[-1] in events]
    return page, found[-1] if fitting < len(rows) else None


def _follows(
    keys: Sequence[ColumnElement[Any]], last: Sequence[Any], *, descends: bool
) -> ColumnElement[bool]:
    if not descends:
        return and_(tuple_(*keys) > tuple_(*last))
    if len(keys) == 1:
        return and_(keys[0] < last[0])
    # Those at the same value stand in the order of their ids.
    return and_(keys[0] <= last[0], or_(keys[0] < last[0], keys[1] > last[1]))


def _by_id(session: Session, ids: Sequence[int]) -> dict[int, Event]:
    """Those that are there still."""
    return {event.id: event for event in session.scalars(select(Event).where(Event.id.in_(ids)))}


def find(session: Session, event_id: int, *, locked: bool = False) -> Event:
    """Raises NotFound."""
    event = session.get(Event, event_id, with_for_update={"key_share": True} if locked else None)
    if event is None:
        raise NotFound
    return event


def lock(session: Session, event_id: int) -> Event:
    """Lock it against other writers; ticket types may still be added. Raises NotFound."""
    return find(session, event_id, locked=True)


def lock_for_deletion(session: Session, event_id: int) -> Event:
    """Lock it against all that refer to it, then its lane: see `catalog.ticket_types.store.lock`.

    Raises:
        NotFound: there is no such event.
    """
    session.execute(select(Event.id).where(Event.id == event_id).with_for_update())
    session.execute(
        select(Lane.event_id).where(Lane.event_id == event_id).with_for_update(key_share=True)
    )
    ledgers_of(session).add(event_id)
    return find(session, event_id)


def has_purchases(session: Session, event_id: int) -> bool:
    """Whether there ever was one, decided or not."""
    buys = select(Request.id).where(Request.event_id == event_id, Request.kind == "buy")
    return session.scalars(buys.limit(1)).first() is not None
