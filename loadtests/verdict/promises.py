"""What buyers saw, compared with the rows. Pure: the rows are read elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

import msgspec

from loadtests.answers import Line
from loadtests.recording.observations import ACCEPTED, REFUSED, Seen
from shared.purchases import QUEUED


class Promise(StrEnum):
    """What Eventify promises, in the words of the report."""

    NEVER_LOST = "every purchase answered with 202 is in the database"
    DECIDED = "every purchase answered with 202 is decided"
    ONE_OUTCOME = "every outcome that a buyer saw is the one in the database"
    PAYMENTS = "every payment has tickets, or was told to be given back"
    NEVER_OVERSOLD = "no more was held and sold than was issued"
    AUDIT = "the audit finds no violation"


class PurchaseRow(msgspec.Struct, frozen=True):
    """A purchase in the database, written as in the API.

    `statuses`: one after the other; a hold has another when it ends. `payment_reference`: what it
    was confirmed by.
    """

    id: str
    statuses: list[str]
    reason: str | None
    ticket_type: int | None
    quantity: int | None
    items: list[Line]
    total_price: str
    decided_at: str | None
    payment_reference: str | None = None


class TicketTypeCounters(msgspec.Struct, frozen=True):
    """A ticket type's own counters beside the sums of its purchases that are held and confirmed."""

    ticket_type: int
    issued: int
    held: int
    sold: int
    held_tickets: int
    confirmed_tickets: int


class Broken(msgspec.Struct, frozen=True):
    """One promise, broken once."""

    promise: Promise
    detail: str


class Findings(msgspec.Struct, frozen=True):
    """How many of each promise were checked, and what broke one; a missing one was not checked."""

    checked: dict[Promise, int]
    broken: list[Broken]


def broken_by_purchases(seen: Sequence[Seen], rows: Mapping[str, PurchaseRow]) -> Iterator[Broken]:
    """The differences between these answers and these rows, answer by answer.

    Args:
        seen: what buyers were answered.
        rows: by id, after the queue had its time to drain.
    """
    for answer in seen:
        row = rows.get(answer.id)
        if row is None:
            yield Broken(Promise.NEVER_LOST, f"{answer.id} was {answer.status}, and has no row")
        elif answer.status == ACCEPTED:
            if row.statuses == [QUEUED]:
                yield Broken(Promise.DECIDED, f"{answer.id} is still queued")
        elif answer.payment_reference is not None and not _is_kept(answer, row):
            detail = (
                f"{answer.id} was {answer.status} for payment {answer.payment_reference}: {row}"
            )
            yield Broken(Promise.PAYMENTS, detail)
        elif answer.status != REFUSED:
            differences = _differences(answer, row)
            if differences:
                yield Broken(Promise.ONE_OUTCOME, f"{answer.id}: {', '.join(differences)}")


def broken_by_counters(counters: Sequence[TicketTypeCounters]) -> Iterator[Broken]:
    for counter in counters:
        held = max(counter.held, counter.held_tickets)
        sold = max(counter.sold, counter.confirmed_tickets)
        if held + sold > counter.issued:
            detail = (
                f"ticket type {counter.ticket_type}: {held} held and {sold} sold"
                f" of {counter.issued} issued"
            )
            yield Broken(Promise.NEVER_OVERSOLD, detail)


def _is_kept(seen: Seen, row: PurchaseRow) -> bool:
    """Whether this payment has the purchase, if and only if its shop was told so."""
    return (row.payment_reference == seen.payment_reference) == (seen.status != REFUSED)


def _differences(seen: Seen, row: PurchaseRow) -> list[str]:
    """Each field that differs between answer and row; one that the answer left out does not."""
    fields = ("reason", "ticket_type", "quantity", "items", "total_price", "decided_at")
    both = [(name, getattr(seen, name), getattr(row, name)) for name in fields]
    differences = [
        f"answered {name} {answered}, the row has {stored}"
        for name, answered, stored in both
        if answered is not None and answered != stored
    ]
    if seen.status not in row.statuses:
        differences.insert(0, f"answered status {seen.status}, the row has {row.statuses}")
    if seen.answered_id is not None:
        differences.append(f"the answer was about {seen.answered_id}")
    return differences
