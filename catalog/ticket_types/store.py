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


def matching(event_id: int | None) -> Select[TicketType, TicketInventory, int]:
    """The ticket types of one event, or of all, oldest first."""
    wanted = _all()
    if event_id is not None:
        wanted = wanted.where(TicketType.event_id == event_id)
    return wanted.order_by(TicketType.id)


def page(
    session: Session, wanted: Select[TicketType, TicketInventory, int], page_wanted: PageWanted
) -> tuple[int, Sequence[StoredTicketType]]:
    """How many ticket types there are in all, and those of the page.

    Raises:
        NotFound: the page is beyond the end.
    """
    count = count_of(session, wanted)
    rows = wanted.offset(page_wanted.offset(count)).limit(page_wanted.size)
    return count, [StoredTicketType(*row) for row in session.execute(rows)]


def find(session: Session, ticket_type_id: int) -> StoredTicketType:
    """The ticket type as it stands.

    Raises:
        NotFound: there is none.
    """
    found = _all().where(TicketType.id == ticket_type_id)
    row = session.execute(found.execution_options(populate_existing=True)).one_or_none()
    if row is None:
        raise NotFound
    return StoredTicketType(*row)


def lock(session: Session, ticket_type_id: int) -> StoredTicketType:
    """The ticket type, with its counter locked: nothing is sold of it until we commit.

    The lock comes first and alone, so that all the rest is read as it stands after the wait.

    Raises:
        NotFound: there is none.
    """
    session.get(TicketInventory, ticket_type_id, with_for_update={"key_share": True})
    return find(session, ticket_type_id)


def lock_terms(session: Session, ticket_type_id: int) -> None:
    """Let nobody else change the ticket type until we commit; it sells on meanwhile."""
    found = select(TicketType.id).where(TicketType.id == ticket_type_id)
    session.execute(found.with_for_update(key_share=True))


def add(session: Session, ticket_type: TicketType, capacity: int) -> TicketInventory:
    """Store a new ticket type of which nothing is sold yet, and return its counter."""
    session.add(ticket_type)
    session.flush()
    inventory = TicketInventory(ticket_type_id=ticket_type.id, issued=capacity, sold=0)
    session.add(inventory)
    return inventory


def set_audit_user(session: Session, user_id: int) -> None:
    """Name the user in the record of issued tickets, which a trigger writes."""
    session.execute(select(func.set_config("eventify.user_id", str(user_id), True)))


def has_purchases(session: Session, stored: StoredTicketType) -> bool:
    """Whether there was ever any: each is queued or was decided, and those are counted."""
    return stored.inventory.decisions > 0 or has_queued(session, stored.ticket_type.id)


def has_queued(session: Session, ticket_type_id: int) -> bool:
    queued = (
        select(TicketPurchase.id)
        .where(TicketPurchase.ticket_type_id == ticket_type_id, TicketPurchase.status == QUEUED)
        # In this form the planner takes the queue's index; of EXISTS it may make a scan of all.
        .order_by(TicketPurchase.seq)
        .limit(1)
    )
    return session.scalars(queued).first() is not None


def lock_against_new_purchases(session: Session, ticket_type_id: int) -> None:
    """Let no purchase be accepted until we commit: its guard has to wait for this lock.

    Those that have passed their guard are waited for.
    """
    session.execute(select(TicketType.id).where(TicketType.id == ticket_type_id).with_for_update())


def set_paused(session: Session, ticket_type_id: int, *, paused: bool) -> bool:
    """Pause it, or let it sell; returns whether that is new. Who pauses first sets the time."""
    switched = (
        update(TicketType)
        .where(TicketType.id == ticket_type_id, TicketType.paused_at.is_(None) == paused)
        # Not the transaction's time: it may have waited for its turn.
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
