"""Replays a sale from its export alone: no database, and no trust in who exported it.

Its digest shows that it is whole and as it was written. Who forges that too has to forge a sale
that the rule gives, in its order, down to the counters. What purchases were is kept on disk, so
memory does not grow with the sale.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any, BinaryIO, Final
from uuid import UUID

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from purchase_worker.audit.by_holder import BoughtByHolder
from purchase_worker.audit.findings import INVENTORY, NUMBERING, OUTCOMES, Findings
from purchase_worker.audit.limits import check_limits
from purchase_worker.audit.order import BatchRow, Snapshot
from purchase_worker.audit.replay import Replay
from purchase_worker.audit.rows import (
    BUY,
    CounterRow,
    Earlier,
    EntryRow,
    Happened,
    LaneRow,
    Terms,
)
from purchase_worker.decision import later
from shared.database.export import VERSION, BatchLine, End, EntryLine, Header, Line
from shared.database.ledger import REFUSED, total_of
from shared.errors import ConfigurationError
from shared.purchases import CANCELLED, CONFIRMED, HELD, QUEUED, StoredChange, StoredItem

ROWS_AT_A_TIME: Final = 5_000
# The longest is the header of an event with very many ticket types: a hundred bytes for each.
LINE_MAX_BYTES: Final = 16 * 1024 * 1024
YEARS: Final = range(1970, 9000)
GZIP: Final = b"\x1f\x8b"
# RecursionError: it is nested too deeply.
UNREADABLE: Final = (msgspec.DecodeError, ValueError, RecursionError)
_lines_of: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
_earlier = msgspec.msgpack.Decoder(Earlier)
_encode = msgspec.json.Encoder().encode


class ExportUnreadable(ConfigurationError):
    """It is not an export, or not a whole one: nothing is proven, and nothing accused."""


class Replayed(msgspec.Struct, frozen=True):
    """What an export proves, or not. `open_holds`: held at its end."""

    ok: bool
    event: int
    entries: int
    sha256: str
    outcomes: dict[str, int]
    open_holds: int
    issued: int
    held: int
    sold: int
    violations: int
    examples: dict[str, list[str]]


class _Commands:
    """Those that were answered; of purchases also what the entries so far made of them. In a file
    without a name."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", isolation_level=None)
        self._rows.execute("BEGIN")
        self._rows.execute("CREATE TABLE command (id BLOB PRIMARY KEY, bought BLOB) WITHOUT ROWID")
        self._rows.execute("CREATE TABLE payment (who TEXT PRIMARY KEY, id TEXT) WITHOUT ROWID")

    def find(self, id_: str) -> Earlier | None:
        found = self._rows.execute("SELECT bought FROM command WHERE id = ?", [UUID(id_).bytes])
        row = found.fetchone()
        return None if row is None or row[0] is None else _earlier.decode(row[0])

    def add(self, id_: str, purchase: Earlier | None) -> bool:
        """Returns whether it is new."""
        bought = None if purchase is None else msgspec.msgpack.encode(purchase)
        values = [UUID(id_).bytes, bought]
        return (
            self._rows.execute("INSERT OR IGNORE INTO command VALUES (?, ?)", values).rowcount > 0
        )

    def change(self, id_: str, purchase: Earlier) -> None:
        values = [msgspec.msgpack.encode(purchase), UUID(id_).bytes]
        self._rows.execute("UPDATE command SET bought = ? WHERE id = ?", values)

    def paid_too(self, payer: int | None, reference: str, id_: str) -> str | None:
        """Another purchase that the same payment confirmed; else it is this one's."""
        who = f"{payer}:{reference}"
        row = self._rows.execute("SELECT id FROM payment WHERE who = ?", [who]).fetchone()
        if row is None:
            self._rows.execute("INSERT INTO payment VALUES (?, ?)", [who, id_])
        return row[0] if row is not None and row[0] != id_ else None


class _Reader:
    """The lines of an export: its header, its parts, and whether it came to its end."""

    def __init__(self, lines: Iterator[bytes], found: Findings) -> None:
        self._lines = lines
        self._read = 0
        self._found = found
        self._digest = sha256()
        self._commands = _Commands()
        self.sha256 = ""
        self.header = self._header()
        # Of a lane without an entry it is no time.
        try:
            self.at = _seconds(self.header.at) if self.header.last else 0.0
        except (ValueError, ArithmeticError) as error:
            raise self.unreadable(error) from None

    def parts(self) -> Iterator[tuple[list[BatchRow], list[EntryRow]]]:
        """Raises ExportUnreadable."""
        batches: list[BatchRow] = []
        rows: list[EntryRow] = []
        batch = None
        while not isinstance(line := self._next(), End):
            try:
                if isinstance(line, BatchLine):
                    batch = line
                    batches.append(_batch(line))
                elif isinstance(line, EntryLine):
                    rows.append(self._row(line, batch))
                else:
                    self._wrong("There is a second header line.")
            except (ValueError, ArithmeticError) as error:  # of a time, a UUID or a snapshot
                raise self.unreadable(error) from None
            if len(rows) == ROWS_AT_A_TIME:
                yield batches, rows
                batches, rows = [], []
        yield batches, rows
        self._check_end(line)

    def _header(self) -> Header:
        line = next(self._lines, b"")
        self._read = 1
        self._digest.update(line)
        try:
            header = _lines_of.decode(line)
        except UNREADABLE:
            header = None
        if isinstance(header, Header) and header.version == VERSION:
            return header
        if not line:
            raise ExportUnreadable("The file is empty.")
        if line.startswith(GZIP):
            raise ExportUnreadable(
                "It is compressed: gunzip -c FILE | eventify audit --from - replays it."
            )
        if line.startswith(b'{"type":"export"'):
            raise ExportUnreadable(
                f"It is an export of another version of Eventify; this one reads version {VERSION}."
            )
        raise ExportUnreadable("It is not an export of `eventify export EVENT --format ndjson`.")

    def _next(self) -> Line:
        line = next(self._lines, b"")
        try:
            found = _lines_of.decode(line)
        except UNREADABLE as error:
            if not line.endswith(b"\n"):
                raise ExportUnreadable(
                    f"The export is incomplete: it was cut off after line {self._read:,}, and its"
                    " last line, which has the digest, is missing. Export it again."
                ) from None
            self._read += 1
            raise self.unreadable(error) from None
        self._read += 1
        if not isinstance(found, End):
            self._digest.update(line)
        return found

    def unreadable(self, error: Exception) -> ExportUnreadable:
        return ExportUnreadable(f"Line {self._read:,} of the export cannot be read: {error}")

    def _check_end(self, end: End) -> None:
        self.sha256 = self._digest.hexdigest()
        if end.sha256 != self.sha256:
            self._wrong("The file was changed: its SHA-256 does not match its last line.")
        if end.entries != self.header.last:
            self._wrong(
                f"The first line counts {self.header.last} entries, the last {end.entries}."
            )
        if next(self._lines, None) is not None:
            self._wrong("Lines follow the last line.")

    def _row(self, line: EntryLine, batch: BatchLine | None) -> EntryRow:
        entry, command = line.entry, line.command
        earlier = None if command.purchase is None else self._commands.find(command.purchase)
        changes = _changes(line)
        changed = command.purchase if entry.kind != REFUSED else None
        bought = _bought(line) if command.kind == BUY else None
        if not self._commands.add(entry.command, bought):
            self._violation(NUMBERING, f"entry {entry.number} repeats command {entry.command}.")
        after = bought or earlier
        if changed is not None and earlier is not None:
            happened = (entry.kind, command.payment_reference, changes)
            after = replace(earlier, entries=with_happened(earlier.entries, happened))
            self._commands.change(changed, after)
        self._check_told(line, batch, after)
        paid_too = None
        if changed is not None and entry.kind == CONFIRMED and command.payment_reference:
            paid_too = self._commands.paid_too(command.user, command.payment_reference, changed)
        terms = Terms(
            command.buyer,
            command.hold_seconds,
            command.purchase,
            changed,
            command.payment_reference,
            command.amount,
            command.currency,
            command.restock,
            earlier,
            paid_too,
        )
        return _entry_row(line, changes, terms)

    def _check_told(
        self, line: EntryLine, batch: BatchLine | None, purchase: Earlier | None
    ) -> None:
        if batch is None:
            self._violation(NUMBERING, f"entry {line.entry.number} belongs to no batch.")
            return
        told = _told(line, batch, purchase)
        other = [name for name, value in told.items() if getattr(line.entry, name) != value]
        if other:
            self._violation(
                OUTCOMES,
                f"entry {line.entry.number}: {_listed(other)} from the replayed result.",
            )

    def _wrong(self, what: str) -> None:
        self._found.add(NUMBERING, what)

    def _violation(self, invariant: str, detail: str) -> None:
        self._found.add(invariant, detail, self.header.event)


def _listed(fields: list[str]) -> str:
    names = ", ".join(f"`{name}`" for name in fields)
    return f"{names} {'differs' if len(fields) == 1 and fields[0] != 'items' else 'differ'}"


def _changes(line: EntryLine) -> tuple[StoredChange, ...]:
    is_resolution = line.command.purchase is not None
    return tuple(
        StoredChange(
            item.ticket_type,
            item.change,
            item.left_after,
            item.quantity if is_resolution else None,
            item.cancelled if isinstance(item.cancelled, int) else None,
        )
        for item in line.entry.items
    )


def _entry_row(line: EntryLine, changes: tuple[StoredChange, ...], terms: Terms) -> EntryRow:
    entry, command = line.entry, line.command
    # As most are: the replay is faster where it need not read the terms of others.
    is_plain = not command.buyer and command.hold_seconds is None and command.purchase is None
    in_columns = command.purchase is None and command.items is None and len(changes) == 1
    one = changes[0] if in_columns else None
    return EntryRow(
        number=entry.number,
        kind=entry.kind,
        reason=entry.reason,
        ticket_type_id=None if one is None else one.ticket_type,
        change=0 if one is None else one.change,
        left_after=0 if one is None else one.left_after,
        items=_encode(changes).decode() if one is None else None,
        id=entry.command,
        seq=command.seq,
        accepted_xid=command.accepted_xid,
        accepted_at=_seconds(command.accepted_at),
        asked=command.kind,
        user_id=command.user or 0,
        asked_ticket_type_id=command.ticket_type,
        quantity=command.quantity or 0,
        user_limit=command.user_limit,
        event_limit=command.event_limit,
        asked_items=None if command.items is None else _encode(command.items).decode(),
        stored_terms=None if is_plain else _encode(terms).decode(),
    )


def _told(line: EntryLine, batch: BatchLine, purchase: Earlier | None) -> dict[str, Any]:
    """The fields of an entry that follow from its command, its batch and its purchase.

    The others are what the rule gives. Of a purchase that was still queued nothing is known yet.
    """
    entry, command = line.entry, line.command
    is_buy, is_resolution = command.kind == BUY, command.purchase is not None
    sold = {item.ticket_type: item for item in purchase.items} if purchase is not None else {}
    items = []
    for item in entry.items:
        line_sold = sold.get(item.ticket_type)
        quantity = command.quantity or 0
        if is_resolution:
            quantity = item.quantity
        elif line_sold is not None:
            quantity = line_sold.quantity
        price = None if line_sold is None else line_sold.unit_price
        items.append(replace(item, quantity=quantity, unit_price=price))
    is_held = entry.kind == HELD and command.hold_seconds is not None
    told: dict[str, Any] = {
        "purchase": entry.command if is_buy else command.purchase,
        "batch": batch.first,
        "at": batch.at,
        "items": items,
        "total_price": total_of(items) if is_buy or is_resolution else None,
        "payment_reference": command.payment_reference,
        "held_until": later(batch.at, command.hold_seconds or 0) if is_held else UNSET,
        "seconds": command.hold_seconds if command.kind == "extend" else UNSET,
        "restock": UNSET if command.restock is None else command.restock,
        "note": command.note or UNSET,
    }
    if purchase is not None:
        told |= {
            "status": _status(purchase),
            "user": purchase.user_id,
            "buyer": purchase.buyer or None,
            "currency": purchase.currency,
        }
    elif is_resolution:
        told["status"] = QUEUED
    else:
        told |= dict.fromkeys(("status", "user", "buyer", "currency"))
    return told


def _status(purchase: Earlier) -> str:
    """Cancelled once nothing of it remains."""
    if not purchase.entries:
        return purchase.kind or QUEUED
    kind = purchase.entries[-1][0]
    if kind != CANCELLED:
        return kind
    cancelled = sum(
        change.quantity or 0
        for kind, _reference, changes in purchase.entries
        if kind == CANCELLED
        for change in changes
    )
    bought = sum(item.quantity for item in purchase.items)
    return CANCELLED if cancelled == bought else CONFIRMED


def with_happened(entries: tuple[Happened, ...], happened: Happened) -> tuple[Happened, ...]:
    """All cancellations are one, and of the others the last counts: so there are two at most."""
    kind, reference, changes = happened
    before = [each for each in entries if each[0] == CANCELLED]
    if kind != CANCELLED:
        return (*before, happened)
    cancelled: Counter[int] = Counter()
    for change in (*(change for each in before for change in each[2]), *changes):
        cancelled[change.ticket_type] += change.quantity or 0
    all_of_them = tuple(StoredChange(id_, 0, 0, quantity) for id_, quantity in cancelled.items())
    return (*(each for each in entries if each[0] != CANCELLED), (kind, reference, all_of_them))


def _bought(line: EntryLine) -> Earlier:
    """The purchase that an entry answers, as it left it."""
    entry, command = line.entry, line.command
    items: tuple[StoredItem, ...]
    if command.items is None:
        one = (command.ticket_type or 0, command.quantity or 0, command.unit_price or "0.00")
        items = (StoredItem(*one, command.user_limit),)
    else:
        items = tuple(
            StoredItem(it.ticket_type, it.quantity, it.unit_price, it.user_limit)
            for it in command.items
        )
    return Earlier(
        command.user or 0,
        command.buyer,
        command.hold_seconds,
        command.currency or "",
        items,
        entry.number,
        entry.kind,
        _seconds(entry.at),
        (),
    )


def replay_export(file: BinaryIO) -> Replayed:
    """Replay an export of one event.

    Raises:
        ExportUnreadable: it is something else, or not whole.
        OSError, sqlite3.Error: of the file, or of the disk for what is kept meanwhile.
    """
    found = Findings()
    reader = _Reader(iter(partial(file.readline, LINE_MAX_BYTES), b""), found)
    header = reader.header
    with BoughtByHolder() as bought:
        replay = Replay(header.event, found, bought.add)
        for part in reader.parts():
            try:
                replay.feed(*part)
            except (ValueError, ArithmeticError) as error:  # of a time that no calendar has
                raise reader.unreadable(error) from None
        replay.finish(
            LaneRow(header.last, reader.at, 0, header.extended_seconds),
            _counters(header, found),
        )
        if replay.limited:
            for rows in bought.parts():
                check_limits(rows, found, header.event)
    return Replayed(
        ok=not found.counts,
        event=header.event,
        entries=replay.outcomes.total(),
        sha256=reader.sha256,
        outcomes=dict(replay.outcomes),
        open_holds=replay.open_holds,
        issued=sum(each.issued for each in header.ticket_types),
        held=sum(each.held for each in header.ticket_types),
        sold=sum(each.sold for each in header.ticket_types),
        violations=found.counts.total(),
        examples=dict(found.examples),
    )


def _counters(header: Header, found: Findings) -> Iterable[CounterRow]:
    types = [each.ticket_type for each in header.ticket_types]
    if len(set(types)) != len(types):
        found.add(INVENTORY, "a ticket type is counted twice", header.event)
    for each in header.ticket_types:
        yield CounterRow(each.ticket_type, True, each.issued, each.held, each.sold)


def _batch(line: BatchLine) -> BatchRow:
    return BatchRow(
        line.first,
        line.last,
        _seconds(line.at),
        Snapshot.parse(line.seen),
        line.ticket_type,
        line.by_drain,
    )


def _seconds(moment: str) -> float:
    """Raises ValueError: it is no time, or none that seconds may be added to and taken from."""
    time = datetime.fromisoformat(moment)
    if time.year not in YEARS:
        raise ValueError(f"{time.year} is not a year of a sale")
    return time.astimezone(UTC).timestamp()
