"""The catalog's SQL for ticket types and what is left of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.orm import Session

from catalog.list_pages import count_of
from catalog.ticket_types.rules import Stock
from catalog.transactions import RowLocked, ledgers_of
from shared.database.tables import Counter, Event, Lane, Request, TicketType, WorkListRow
from shared.errors import NotFound
from shared.web.pagination import PageWanted


@dataclass(frozen=True, slots=True)
class StoredTicketType:
    """A ticket type with its counter and the owner of its event."""

    ticket_type: TicketType
    counter: Counter
    owner_id: int

    @property
    def stock(self) -> Stock:
        counter = self.counter
        return Stock(issued=counter.issued, held=counter.held, sold=counter.sold)


def page(
    session: Session, event_id: int | None, page_wanted: PageWanted
) -> tuple[int, Sequence[StoredTicketType]]:
    """The number of ticket types of an event, or of all, and those of the page, oldest first.

    Raises:
        NotFound: the page is beyond the end.
    """
    wanted = _of_event(event_id)
    count = count_of(session, wanted)
    rows = wanted.offset(page_wanted.offset(count)).limit(page_wanted.size)
    return count, [StoredTicketType(*row) for row in session.execute(rows)]


def page_after(
    session: Session, event_id: int | None, last_id: int | None, size: int
) -> Sequence[StoredTicketType]:
    """Those that follow the one with an id, oldest first."""
    rows = _of_event(event_id).limit(size)
    if last_id is not None:
        rows = rows.where(TicketType.id > last_id)
    return [StoredTicketType(*row) for row in session.execute(rows)]


def find(session: Session, ticket_type_id: int) -> StoredTicketType:
    """Read again even if the session has it.

    Raises:
        NotFound: there is no such ticket type.
    """
    found = _all().where(TicketType.id == ticket_type_id)
    row = session.execute(found.execution_options(populate_existing=True)).one_or_none()
    if row is None:
        raise NotFound
    return StoredTicketType(*row)


def lock(session: Session, ticket_type_id: int, other_event: int | None = None) -> StoredTicketType:
    """Lock its event's lane, and that of an event that it moves to: nothing is decided until the
    commit.

    The locks come first and alone, so that everything else is read as it is after the wait; events
    before lanes before ticket types, and lanes in the order of their ids, so that nobody waits in a
    circle.

    Raises:
        NotFound: there is no such ticket type.
    """
    event_id = find(session, ticket_type_id).ticket_type.event_id
    wanted = {event_id, event_id if other_event is None else other_event}
    if len(wanted) > 1:
        into = select(Event.id).where(Event.id == other_event)
        session.execute(into.with_for_update(read=True, key_share=True))
    lanes = select(Lane.event_id).where(Lane.event_id.in_(wanted)).order_by(Lane.event_id)
    session.execute(lanes.with_for_update(key_share=True))
    stored = find(session, ticket_type_id)
    if stored.ticket_type.event_id not in wanted:
        raise RowLocked  # it was moved meanwhile
    ledgers_of(session).update(wanted)
    return stored


def lock_terms(session: Session, ticket_type_id: int) -> StoredTicketType:
    """Lock it against other changes; it is sold meanwhile.

    Raises:
        NotFound: there is no such ticket type.
    """
    found = select(TicketType.id).where(TicketType.id == ticket_type_id)
    session.execute(found.with_for_update(key_share=True))
    return find(session, ticket_type_id)


def set_audit_user(session: Session, user_id: int) -> None:
    """For the ledger: who issues or withdraws tickets in this transaction."""
    session.execute(select(func.set_config("eventify.user_id", str(user_id), True)))


def issue(session: Session, ticket_type_id: int, change: int) -> None:
    """Issue tickets, or withdraw some: an entry of the event's ledger."""
    session.execute(select(func.eventify_issue(ticket_type_id, change)))


def has_purchases(session: Session, ticket_type: TicketType) -> bool:
    """Whether there ever was one, decided or not. It may read all requests of the event."""
    buys = select(Request.id).where(Request.event_id == ticket_type.event_id, *_of(ticket_type))
    return session.scalars(buys.limit(1)).first() is not None


def has_queued(session: Session, ticket_type: TicketType) -> bool:
    queued = (
        select(Request.id)
        .join(WorkListRow, WorkListRow.command_id == Request.id)
        .where(WorkListRow.event_id == ticket_type.event_id, *_of(ticket_type))
    )
    return session.scalars(queued.limit(1)).first() is not None


def _of(ticket_type: TicketType) -> tuple[ColumnElement[bool], ...]:
    line = [{"ticket_type": ticket_type.id}]
    is_line = or_(Request.ticket_type_id == ticket_type.id, Request.items.contains(line))
    return Request.kind == "buy", is_line


def lock_against_new_purchases(session: Session, ticket_type_id: int) -> None:
    """Until the commit: purchases that come meanwhile fail at once, and this waits for those that
    have passed their guard."""
    session.execute(select(TicketType.id).where(TicketType.id == ticket_type_id).with_for_update())


def set_paused(session: Session, ticket_type_id: int, *, paused: bool) -> bool:
    """Returns whether that is a change. The first pause sets the time."""
    switched = (
        update(TicketType)
        .where(TicketType.id == ticket_type_id, TicketType.paused_at.is_(None) == paused)
        # Not the transaction's time: it may have waited for the lock.
        .values(paused_at=func.clock_timestamp() if paused else None)
        .returning(TicketType.id)
    )
    return session.scalars(switched).first() is not None


def _of_event(event_id: int | None) -> Select[TicketType, Counter, int]:
    wanted = _all().order_by(TicketType.id)
    return wanted if event_id is None else wanted.where(TicketType.event_id == event_id)


def _all() -> Select[TicketType, Counter, int]:
    return (
        select(TicketType, Counter, Event.owner_id)
        .join(
            Counter,
            and_(Counter.event_id == TicketType.event_id, Counter.ticket_type_id == TicketType.id),
        )
        .join(Event, Event.id == TicketType.event_id)
    )
