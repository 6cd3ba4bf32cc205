"""The catalog's SQL for events."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.event import listens_for
from sqlalchemy.orm import Session

from shared.errors import NotFound
from shared.models import Event, TicketInventory, TicketPurchase, TicketType
from shared.paging import PageWanted
from shared.purchases import QUEUED
from shared.text import folded, searchable


def matching(
    *, search: str, owner_id: int | None, starts_after: datetime | None, ordering: str
) -> Select[Event]:
    """The events that a list asks for, in its order.

    Each word of `search` must stand in the title or in the description, in any case of letters and
    any normal form.
    `ordering` is a column's name, with `-` before it for the reverse.
    """
    wanted = select(Event).where(*(_has_word(word) for word in folded(search).split()))
    if owner_id is not None:
        wanted = wanted.where(Event.owner_id == owner_id)
    if starts_after is not None:
        wanted = wanted.where(Event.start_time > starts_after)
    column = Event.__table__.c[ordering.removeprefix("-")]
    order = column.desc() if ordering.startswith("-") else column.asc()
    # The id makes the order total, so that no event stands on two pages.
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
) -> tuple[int, Sequence[Event]]:
    """How many events there are in all, and those of the page.

    Raises:
        NotFound: the page is beyond the end.
    """
    counted = wanted.order_by(None).with_only_columns(func.count(), maintain_column_froms=True)
    count = session.scalars(counted).one()
    rows = wanted.offset(page_wanted.offset(count)).limit(page_wanted.size)
    return count, session.scalars(rows).all()


def find(session: Session, event_id: int) -> Event:
    """The event.

    Raises:
        NotFound: there is none.
    """
    event = session.get(Event, event_id)
    if event is None:
        raise NotFound
    return event


def lock(session: Session, event_id: int) -> Event:
    """The event, locked against other writers; ticket types may still be added to it.

    Raises:
        NotFound: there is none.
    """
    event = session.get(Event, event_id, with_for_update={"key_share": True})
    if event is None:
        raise NotFound
    return event


def has_purchases(session: Session, event_id: int) -> bool:
    """Whether any ticket type of the event ever had one: each is queued, or decided and counted."""
    queued = select(TicketPurchase.id).where(
        TicketPurchase.ticket_type_id == TicketType.id, TicketPurchase.status == QUEUED
    )
    asked_for = (
        select(TicketType.id)
        .join(TicketInventory, TicketInventory.ticket_type_id == TicketType.id)
        .where(TicketType.event_id == event_id)
        .where(or_(TicketInventory.decisions > 0, queued.exists()))
    )
    return session.scalars(select(asked_for.exists())).one()
