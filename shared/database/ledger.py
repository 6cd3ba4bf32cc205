"""An event's ledger, read from a number on, as the feed, webhooks and exports have its entries."""

from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType
from psycopg2.extensions import cursor

from shared.database.confirmed_commit import KEPT
from shared.database.prepared_statement import Prepared, plain_array
from shared.purchases import CANCELLED, CONFIRMED, HELD, StoredChange, StoredItem, as_time

REFUSED: Final = "refused"
# `drawn` is of draws, which are still to come.
KINDS: Final = (
    "issued",
    "withdrawn",
    CONFIRMED,
    HELD,
    "rejected",
    "released",
    "expired",
    CANCELLED,
    "extended",
    "drawn",
    REFUSED,
)
# Entries that a page looks at where a filter leaves most of them out: some 20 ms.
FILTERED_ROWS: Final = 10_000


class LedgerItem(msgspec.Struct, frozen=True, gc=False):
    """What an entry did to one ticket type.

    `quantity`: tickets that it is about. `change`: of those that are left. `unit_price`: None where
    nothing is sold. `cancelled`: of a cancellation, tickets of the line that are cancelled so far.
    """

    ticket_type: int
    quantity: int
    change: int
    left_after: int
    unit_price: str | None
    cancelled: int | UnsetType = UNSET


class LedgerEntry(msgspec.Struct, frozen=True, gc=False):
    """An entry as clients read it; times in RFC 3339 UTC, money as decimal strings.

    `status`: of the purchase after the entry. `user`, `buyer`: who bought, and whom for. `batch`:
    the first number of its batch. `total_price`: of its items.
    """

    number: int
    kind: str
    status: str | None
    reason: str | None
    purchase: str | None
    user: int | None
    buyer: str | None
    command: str
    batch: int
    at: str
    items: Sequence[LedgerItem]
    total_price: str | None
    currency: str | None
    payment_reference: str | None
    # Each only where it applies. `seconds`: by how much all holds were extended.
    held_until: str | UnsetType = UNSET
    seconds: int | UnsetType = UNSET
    restock: bool | UnsetType = UNSET
    note: str | UnsetType = UNSET


class LedgerPage(msgspec.Struct, frozen=True):
    """Entries in their order.

    `last`: the number up to which was read; what a filter left out counts. `at_end`: nothing was
    there after it. `epoch`: of the numbers; in a restored database they count other entries, of
    another epoch.
    """

    epoch: str
    last: int
    at_end: bool
    entries: list[LedgerEntry]


# A number is given under the lane's lock: who sees it sees all before it. Each row looks up what
# belongs to it by its key (OFFSET 0). The status after a cancellation or refusal is that of the
# purchase's newest entry by then.
READ = Prepared(
    "read_ledger",
    f"""
WITH scanned AS MATERIALIZED (
    SELECT * FROM ledger WHERE event_id = %(event_id)s AND number > %(after)s
    ORDER BY number
    LIMIT CASE WHEN %(kinds)s::text[] IS NULL THEN %(rows)s ELSE {FILTERED_ROWS} END
)
SELECT h.epoch, h.last, e.number, e.kind::text, e.reason::text, r.kind::text, e.command_id::text,
       coalesce(p.id, CASE WHEN r.kind = 'buy' THEN r.id END)::text,
       coalesce(p.user_id, CASE WHEN r.kind = 'buy' THEN r.user_id END),
       coalesce(p.buyer, r.buyer), b.first_number, {as_time("b.at")},
       e.ticket_type_id, r.quantity, e.change, e.left_after, e.items::text,
       coalesce(p.unit_price, r.unit_price)::text,
       (CASE WHEN p.id IS NULL THEN r.items ELSE p.items END)::text,
       coalesce(p.currency, r.currency),
       r.payment_reference, r.restock, r.note, r.hold_seconds,
       CASE WHEN e.kind = '{HELD}'
            THEN {as_time("(b.at + make_interval(secs => r.hold_seconds))")} END,
       later.status
FROM (SELECT (SELECT epoch FROM ledger_epoch) AS epoch,
             (SELECT max(number) FROM scanned) AS last) h
LEFT JOIN (
    SELECT * FROM scanned
    WHERE %(kinds)s::text[] IS NULL OR kind::text = ANY(%(kinds)s::text[])
    ORDER BY number LIMIT %(rows)s) e ON true
LEFT JOIN LATERAL (SELECT * FROM requests
                   WHERE id = e.command_id OFFSET 0) r ON true
LEFT JOIN LATERAL (SELECT * FROM requests
                   WHERE id = r.purchase_id OFFSET 0) p ON true
LEFT JOIN LATERAL (SELECT first_number, at FROM batches
                   WHERE event_id = e.event_id AND first_number <= e.number
                   ORDER BY first_number DESC LIMIT 1) b ON true
LEFT JOIN LATERAL (
    SELECT CASE WHEN newest.kind IS NULL THEN coalesce((
                    SELECT kind::text FROM ledger
                    WHERE event_id = e.event_id AND command_id = p.id AND number < e.number
                ), 'queued')
                WHEN newest.kind = '{CANCELLED}' AND newest.cancelled < coalesce(p.quantity, (
                    SELECT sum((line->>'quantity')::int) FROM jsonb_array_elements(p.items) line))
                THEN '{CONFIRMED}'
                ELSE newest.kind::text END AS status
    FROM (SELECT max(number), (array_agg(kind ORDER BY number DESC))[1] AS kind,
                 sum((SELECT sum((item->>'quantity')::int) FROM jsonb_array_elements(items) item))
                     FILTER (WHERE kind = '{CANCELLED}') AS cancelled
          FROM ledger WHERE event_id = e.event_id AND purchase_id = p.id AND number <= e.number
    ) newest
    WHERE e.kind IN ('{CANCELLED}', '{REFUSED}') AND p.id IS NOT NULL
    OFFSET 0) later ON true
WHERE h.last IS NULL OR {KEPT}
ORDER BY e.number
""",
)


class _Row(msgspec.Struct, gc=False):
    """The columns of READ after the first two; `asked`: the kind of the command.

    `sold_price`: of its one line; `sold_items`: the lines of a cart.
    """

    number: int
    kind: str
    reason: str | None
    asked: str | None
    command: str
    purchase: str | None
    user: int | None
    buyer: str | None
    batch: int
    at: str
    ticket_type: int | None
    quantity: int | None
    change: int | None
    left_after: int | None
    items: str | None
    sold_price: str | None
    sold_items: str | None
    currency: str | None
    payment_reference: str | None
    restock: bool | None
    note: str | None
    hold_seconds: int | None
    held_until: str | None
    later_status: str | None


_changes = msgspec.json.Decoder(list[StoredChange])
_sold = msgspec.json.Decoder(list[StoredItem])


class LedgerBroken(Exception):
    """Entries are not numbered without a gap, or one has no request: `eventify audit` says more."""


def read_entries(
    cursor: cursor,
    event_id: int,
    after: int,
    *,
    rows: int,
    kinds: Collection[str] | None = None,
    reached: int = 0,
) -> LedgerPage:
    """The entries after a number, in their order.

    What it returns is kept through a failover once its transaction has committed.

    Args:
        cursor: of `shared.database.engine.statement`.
        event_id: one without a ledger has no entries.
        after: 0 for the beginning.
        rows: at most so many entries.
        kinds: only these; None: all.
        reached: a number that the ledger has reached: before it, there is something to read.

    Raises:
        psycopg2.Error: nothing was read.
        LedgerBroken: somebody has changed it by force.
    """
    READ.run(
        cursor,
        {
            "event_id": event_id,
            "after": after,
            "rows": rows,
            "kinds": None if kinds is None else plain_array(kinds),
        },
    )
    found = cursor.fetchall()
    epoch, scanned_to, *_ = found[0]
    entries = [_entry(_Row(*row)) for _epoch, _last, *row in found if row[0] is not None]
    numbers = [entry.number for entry in entries]
    is_cut_off = scanned_to is None and after < reached
    has_gap = kinds is None and numbers != list(range(after + 1, after + 1 + len(numbers)))
    if is_cut_off or has_gap:
        raise LedgerBroken(f"event {event_id}: a number after {after} is missing")
    # A full page says nothing of what the filter looked at after it.
    last = numbers[-1] if len(numbers) == rows else scanned_to or after
    is_cut = len(numbers) == rows or (kinds is not None and last - after == FILTERED_ROWS)
    return LedgerPage(epoch, last, not is_cut, entries)


def _entry(row: _Row) -> LedgerEntry:
    if row.asked is None:
        raise LedgerBroken(f"entry {row.number} answers no request")
    items = _items(row)
    of_purchase = row.purchase is not None
    return LedgerEntry(
        number=row.number,
        kind=row.kind,
        status=row.later_status or (row.kind if of_purchase else None),
        reason=row.reason,
        purchase=row.purchase,
        user=row.user,
        buyer=row.buyer or None,
        command=row.command,
        batch=row.batch,
        at=row.at,
        items=items,
        total_price=total_of(items) if of_purchase else None,
        currency=row.currency,
        payment_reference=row.payment_reference,
        held_until=row.held_until or UNSET,
        seconds=UNSET if row.asked != "extend" or row.hold_seconds is None else row.hold_seconds,
        restock=UNSET if row.restock is None else row.restock,
        note=row.note or UNSET,
    )


def _items(row: _Row) -> list[LedgerItem]:
    if row.ticket_type is not None:
        assert row.quantity is not None
        assert row.change is not None
        assert row.left_after is not None
        return [
            LedgerItem(row.ticket_type, row.quantity, row.change, row.left_after, row.sold_price)
        ]
    sold = {}
    if row.sold_items is not None:
        lines = _sold.decode(row.sold_items)
        sold = {line.ticket_type: (line.quantity, line.unit_price) for line in lines}
    items = []
    for change in _changes.decode(row.items or "[]"):
        quantity, price = sold.get(change.ticket_type, (0, row.sold_price))
        items.append(
            LedgerItem(
                change.ticket_type,
                quantity if change.quantity is None else change.quantity,
                change.change,
                change.left_after,
                price,
                UNSET if change.cancelled is None else change.cancelled,
            )
        )
    return items


def total_of(items: Sequence[LedgerItem]) -> str:
    return str(sum((Decimal(i.unit_price or 0) * i.quantity for i in items), Decimal("0.00")))
