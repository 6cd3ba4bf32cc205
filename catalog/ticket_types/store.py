"""The catalog's SQL for ticket types and what is left of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from catalog.pages import count_of
from catalog.ticket_types.rules import Stock
from shared.database.tables import Event, TicketInventory, TicketPurchase, TicketType
from shared.errors import NotFound
from shared.purchases import QUEUED
from shared.web.pagination import PageWanted


@dataclass(frozen=True, slots=True)
class StoredTicketType:
    """A ticket type with its counter and the owner of its event."""

    ticket_type: TicketType
    inventory: TicketInventory
    owner_id: int

    @property
    def stock(self) -> Stock:
        return Stock(issued=self.inventory.issued, sold=self.inventory.sold)


def page(
    session: Session, event_id: int | None, page_wanted: PageWanted
) -> tuple[int, Sequence[StoredTicketType]]:
    """The number of ticket types of an event, or of all, and those of the page, oldest first.

    Raises:
        NotFound: the page is beyond the end.
    """
    wanted = _all().order_by(TicketType.id)
    if event_id is not None:
        wanted = wanted.where(TicketType.event_id == event_id)
    count = count_of(session, wanted)
    rows = wanted.offset(page_wanted.offset(count)).limit(page_wanted.size)
    return count, [StoredTicketType(*row) for row in session.execute(rows)]


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


def lock(session: Session, ticket_type_id: int) -> StoredTicketType:
    """Lock its counter: nothing is sold of it until the commit.

    The lock comes first and alone, so that everything else is read as it is after the wait.

    Raises:
        NotFound: there is no such ticket type.
    """
    session.get(TicketInventory, ticket_type_id, with_for_update={"key_share": True})
    return find(session, ticket_type_id)


def lock_terms(session: Session, ticket_type_id: int) -> StoredTicketType:
    """Lock it against other changes; it is sold meanwhile.

    Raises:
        NotFound: there is no such ticket type.
    """
    found = select(TicketType.id).where(TicketType.id == ticket_type_id)
    session.execute(found.with_for_update(key_share=True))
    return find(session, ticket_type_id)


def set_audit_user(session: Session, user_id: int) -> None:
    """For the record of issued tickets, which a trigger writes."""
    session.execute(select(func.set_config("eventify.user_id", str(user_id), True)))


def has_purchases(session: Session, stored: StoredTicketType) -> bool:
    """Whether it ever had one: queued, or decided and counted."""
    return stored.inventory.decisions > 0 or has_queued(session, stored.ticket_type.id)


def has_queued(session: Session, ticket_type_id: int) -> bool:
    queued = (
        select(TicketPurchase.id)
        .where(TicketPurchase.ticket_type_id == ticket_type_id, TicketPurchase.status == QUEUED)
        # This uses the queue's index; of EXISTS the planner may make a sequential scan.
        .order_by(TicketPurchase.seq)
        .limit(1)
    )
    return session.scalars(queued).first() is not None


def lock_against_new_purchases(session: Session, ticket_type_id: int) -> None:
    """Until the commit: the guard of a purchase waits for this lock, and it waits for purchases
    that have passed their guard."""
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


def _all() -> Select[TicketType, TicketInventory, int]:
    return (
        select(TicketType, TicketInventory, Event.owner_id)
        .join(TicketInventory, TicketInventory.ticket_type_id == TicketType.id)
        .join(Event, Event.id == TicketType.event_id)
    )
