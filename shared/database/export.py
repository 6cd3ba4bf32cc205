"""An event's whole ledger as text: lines of JSON, enough to replay the sale, or a table.

It is read in pages, each a short transaction, so its memory is that of a page. The JSON begins with
what the ledger should add up to, and ends with a digest of all that was before.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, lower case there
from sqlalchemy import Engine

from shared.database.engine import statement
from shared.database.ledger import LedgerEntry, read_entries
from shared.database.prepared_statement import Prepared
from shared.errors import NotFound
from shared.purchases import as_time, total_price
from shared.row_ids import MAX_ID

Format = Literal["ndjson", "csv"]
ROWS: Final = 1_000
VERSION: Final = 1
# What a reader of an export may rely on.
Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Money = Annotated[str, Meta(pattern=r"^[0-9]{1,17}(\.[0-9]{1,2})?$")]
CommandKind = Literal[
    "buy", "issue", "withdraw", "confirm", "release", "cancel", "expire", "extend"
]


class ExportedType(msgspec.Struct, frozen=True):
    """A ticket type, and how its tickets were counted after the last entry."""

    ticket_type: Id
    name: str | None
    issued: Count
    held: Count
    sold: Count


class Header(msgspec.Struct, frozen=True, tag="export", tag_field="type"):
    """The first line. `last`: number of the last entry; `at`, `extended_seconds`: of its lane."""

    version: int
    event: Id
    epoch: str
    last: int
    at: str
    extended_seconds: Count
    ticket_types: list[ExportedType]


class BatchLine(msgspec.Struct, frozen=True, tag="batch", tag_field="type"):
    """What was decided together: it is before its entries. `seen`: PostgreSQL's `pg_snapshot`.

    `ticket_type`: of one from before the ledger. `by_drain`: it read the work list.
    """

    first: int
    last: int
    at: str
    seen: str
    ticket_type: int | None
    by_drain: bool


class ExportedLine(msgspec.Struct, frozen=True):
    """A line of a cart, with its terms; or of a cancellation, which has none."""

    ticket_type: Id
    quantity: Positive
    unit_price: Money = "0.00"
    user_limit: Positive | None = None


class ExportedCommand(msgspec.Struct, frozen=True):
    """A command with its terms, as it was accepted by transaction `accepted_xid`."""

    kind: CommandKind
    seq: Id
    accepted_xid: int
    accepted_at: str
    user: Id | None = None
    buyer: str = ""
    ticket_type: Id | None = None
    quantity: Positive | None = None
    unit_price: Money | None = None
    user_limit: Positive | None = None
    event_limit: Positive | None = None
    items: list[ExportedLine] | None = None
    currency: str | None = None
    hold_seconds: Positive | None = None
    purchase: str | None = None
    payment_reference: str | None = None
    amount: Money | None = None
    restock: bool | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError: it lacks what its kind has."""
        match self.kind:
            case "buy":
                line = (self.ticket_type, self.quantity, self.unit_price)
                is_whole = self.user is not None and (bool(self.items) or None not in line)
            case "issue" | "withdraw":
                is_whole = None not in (self.ticket_type, self.quantity)
            case "extend":
                is_whole = self.hold_seconds is not None
            case _:
                is_whole = self.purchase is not None
        types = [line.ticket_type for line in self.items or ()]
        is_whole = is_whole and len(types) == len(set(types))
        if not is_whole or (self.kind == "cancel" and not types):
            raise ValueError(f"This is no whole command to {self.kind}")


class EntryLine(msgspec.Struct, frozen=True, tag="entry", tag_field="type"):
    entry: LedgerEntry
    command: ExportedCommand


class End(msgspec.Struct, frozen=True, tag="end", tag_field="type"):
    """The last line. `sha256`: of all bytes before it."""

    entries: int
    sha256: str


Line = Header | BatchLine | EntryLine | End

# One statement: lane and counters are of one moment.
STATE = Prepared(
    "export_state",
    f"""
SELECT l.number, {as_time("l.at")}, l.extended_seconds, (SELECT epoch FROM ledger_epoch),
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
            'ticket_type', c.ticket_type_id, 'issued', c.issued, 'held', c.held, 'sold', c.sold,
            'name', (SELECT name FROM ticket_types WHERE id = c.ticket_type_id)
        ) ORDER BY c.ticket_type_id), '[]')::text FROM counters c WHERE c.event_id = l.event_id)
FROM lanes l WHERE l.event_id = %(event_id)s
""",
)
BATCHES = Prepared(
    "export_batches",
    f"""
SELECT first_number, last_number, {as_time("at")}, seen::text, ticket_type_id,
       locked_lanes IS NOT NULL
FROM batches
WHERE event_id = %(event_id)s AND first_number > %(after)s AND first_number <= %(last)s
ORDER BY first_number
""",
)
COMMANDS = Prepared(
    "export_commands",
    f"""
SELECT (jsonb_build_object('kind', r.kind, 'seq', r.seq,
            'accepted_xid', r.accepted_xid::text::bigint, 'accepted_at', {as_time("r.created_at")})
        || jsonb_strip_nulls(jsonb_build_object(
            'user', r.user_id, 'buyer', nullif(r.buyer, ''), 'ticket_type', r.ticket_type_id,
            'quantity', r.quantity, 'unit_price', r.unit_price::text, 'user_limit', r.user_limit,
            'event_limit', r.event_user_limit, 'items', r.items, 'currency', r.currency,
            'hold_seconds', r.hold_seconds, 'purchase', r.purchase_id,
            'payment_reference', r.payment_reference, 'amount', r.amount::text,
            'restock', r.restock, 'note', r.note)))::text
FROM (SELECT number, command_id FROM ledger
      WHERE event_id = %(event_id)s AND number > %(after)s AND number <= %(last)s
      ORDER BY number) e
CROSS JOIN LATERAL (SELECT * FROM requests WHERE id = e.command_id OFFSET 0) r
ORDER BY e.number
""",
)
_encode = msgspec.json.Encoder().encode
_types = msgspec.json.Decoder(list[ExportedType])


def export(engine: Engine, event_id: int, form: Format) -> Iterator[bytes]:
    """The ledger up to its present end, in parts; nothing is held between two of them.

    Raises:
        NotFound: the event never was.
        LedgerBroken: somebody has changed it by force.
        psycopg2.Error: the database is unavailable, and the export incomplete.
    """
    with statement(engine) as cursor:
        header = _header(cursor, event_id)
    return _ndjson(engine, header) if form == "ndjson" else _csv(engine, header)


def _header(cursor: Cursor, event_id: int) -> Header:
    STATE.run(cursor, {"event_id": event_id})
    row = cursor.fetchone()
    if row is None:
        raise NotFound
    number, at, extended_seconds, epoch, ticket_types = row
    types = _types.decode(ticket_types)
    return Header(VERSION, event_id, epoch, number, at, extended_seconds, types)


def _pages(
    engine: Engine, header: Header, render: Callable[[Cursor, int, list[LedgerEntry]], bytes]
) -> Iterator[bytes]:
    after = 0
    while after < header.last:
        with statement(engine) as cursor:
            rows = min(ROWS, header.last - after)
            page = read_entries(cursor, header.event, after, rows=rows, reached=header.last)
            part = render(cursor, after, page.entries)
        after = page.last
        yield part


def _ndjson(engine: Engine, header: Header) -> Iterator[bytes]:
    digest = sha256()

    def render(cursor: Cursor, after: int, entries: list[LedgerEntry]) -> bytes:
        part = {"event_id": header.event, "after": after, "last": entries[-1].number}
        BATCHES.run(cursor, part)
        batches = {row[0]: BatchLine(*row) for row in cursor.fetchall()}
        COMMANDS.run(cursor, part)
        lines = []
        for entry, (command,) in zip(entries, cursor.fetchall(), strict=True):
            if entry.number in batches:
                lines.append(_encode(batches[entry.number]))
            line = b'{"type":"entry","entry":%b,"command":%b}'
            lines.append(line % (_encode(entry), command.encode()))
        return b"\n".join(lines) + b"\n"

    first = _encode(header) + b"\n"
    digest.update(first)
    yield first
    for part in _pages(engine, header, render):
        digest.update(part)
        yield part
    yield _encode(End(header.last, digest.hexdigest())) + b"\n"


COLUMNS: Final = (
    *("number", "at", "kind", "status", "reason", "purchase", "user", "buyer"),
    *("ticket_type", "ticket_type_name", "quantity", "unit_price", "amount", "currency"),
    *("change", "left_after", "payment_reference", "note", "command", "batch"),
    *("held_until", "seconds", "restock"),
)
# Where a spreadsheet takes what follows for a formula (OWASP, "CSV Injection"), some do so also
# behind quotes and spaces. Where its separator is a semicolon, a cell begins also in the text.
FORMULA: Final = re.compile(r"(^|[;\t\r\n])(?=[\s\"'\ufeff\u200b]*[=+\-@＝＋－＠])|^(?=[\t\r\n])")
# By this, Excel knows that a table is UTF-8.
BYTE_ORDER_MARK: Final = "\ufeff".encode()


def harmless(text: str | None) -> str | None:
    """A text that no spreadsheet runs: with an apostrophe before what would be a formula."""
    return None if text is None else FORMULA.sub(r"\1'", text)


def _csv(engine: Engine, header: Header) -> Iterator[bytes]:
    names = {each.ticket_type: harmless(each.name) for each in header.ticket_types}

    def render(_cursor: Cursor, _after: int, entries: list[LedgerEntry]) -> bytes:
        return _rows(row for entry in entries for row in _table(entry, names))

    yield BYTE_ORDER_MARK + _rows([COLUMNS])
    yield from _pages(engine, header, render)


def _table(entry: LedgerEntry, names: dict[int, str | None]) -> Iterator[tuple[Any, ...]]:
    """A row for each ticket type; one for an entry without any."""
    before = (entry.number, entry.at, entry.kind, entry.status, entry.reason, entry.purchase)
    who = (entry.user, harmless(entry.buyer))
    note = entry.note if isinstance(entry.note, str) else None
    after = (
        *(harmless(entry.payment_reference), harmless(note), entry.command, entry.batch),
        *(each or None for each in (entry.held_until, entry.seconds)),
        str(entry.restock).lower() if isinstance(entry.restock, bool) else None,
    )
    if not entry.items:
        yield (*before, *who, *(None,) * 5, entry.currency, None, None, *after)
    for item in entry.items:
        amount = None if item.unit_price is None else total_price(item.unit_price, item.quantity)
        yield (
            *(*before, *who, item.ticket_type, names.get(item.ticket_type), item.quantity),
            *(item.unit_price, amount, entry.currency, item.change, item.left_after, *after),
        )


def _rows(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
