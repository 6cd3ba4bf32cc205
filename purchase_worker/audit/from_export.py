"""Replays a sale from its export alone: no database, and no trust in who exported it.

Its digest shows that it is whole and as it was written. Who forges that too has to forge a sale
that the rule gives, in its order, down to the counters. What purchases were is kept on disk, so
memory does not grow with the sale.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import BinaryIO, Final

import msgspec
from msgspec.structs import replace

from purchase_worker.audit.by_user import BoughtByUser
from purchase_worker.audit.order import BatchRow, Snapshot
from purchase_worker.audit.replay import (
    NUMBERING,
    OUTCOMES,
    CounterRow,
    Earlier,
    EntryRow,
    Findings,
    LaneRow,
    Replay,
    Terms,
    check_limits,
)
from shared.database.export import VERSION, BatchLine, End, EntryLine, Header, Line
from shared.errors import ConfigurationError
from shared.purchases import CONFIRMED, HELD, StoredChange, StoredItem

ROWS_AT_A_TIME: Final = 5_000
REFUSED: Final = "refused"
_lines_of: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
_earlier = msgspec.msgpack.Decoder(Earlier)
_encode = msgspec.json.Encoder().encode


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


class _Purchases:
    """Those that were taken, as the entries so far left them; in a file without a name."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", isolation_level=None)
        self._rows.execute("BEGIN")
        self._rows.execute("CREATE TABLE purchase (id TEXT PRIMARY KEY, told BLOB) WITHOUT ROWID")
        self._rows.execute("CREATE TABLE payment (who TEXT PRIMARY KEY, id TEXT) WITHOUT ROWID")

    def find(self, id_: str) -> Earlier | None:
        row = self._rows.execute("SELECT told FROM purchase WHERE id = ?", [id_]).fetchone()
        return None if row is None else _earlier.decode(row[0])

    def keep(self, id_: str, purchase: Earlier) -> None:
        told = msgspec.msgpack.encode(purchase)
        self._rows.execute("INSERT OR REPLACE INTO purchase VALUES (?, ?)", [id_, told])

    def paid_too(self, payer: int | None, reference: str, id_: str) -> str | None:
        """Another purchase that the same payment confirmed; else it is this one's."""
        who = f"{payer}:{reference}"
        row = self._rows.execute("SELECT id FROM payment WHERE who = ?", [who]).fetchone()
        if row is None:
            self._rows.execute("INSERT INTO payment VALUES (?, ?)", [who, id_])
        return row[0] if row is not None and row[0] != id_ else None


class _Reader:
    """The lines of an export: its header, its parts, and whether it came to its end."""

    def __init__(self, lines: Iterable[bytes], found: Findings) -> None:
        self._lines = iter(lines)
        self._found = found
        self._digest = sha256()
        self._purchases = _Purchases()
        self.sha256 = ""
        header = self._next()
        if not isinstance(header, Header) or header.version != VERSION:
            raise ConfigurationError(
                "This is no export of `eventify export --format ndjson`, or of another version."
            )
        self.header = header

    def parts(self) -> Iterator[tuple[list[BatchRow], list[EntryRow]]]:
        batches: list[BatchRow] = []
        rows: list[EntryRow] = []
        batch = None
        while isinstance(line := self._next(), BatchLine | EntryLine):
            if isinstance(line, BatchLine):
                batch = line
                batches.append(_batch(line))
                continue
            rows.append(self._row(line, batch))
            if len(rows) == ROWS_AT_A_TIME:
                yield batches, rows
                batches, rows = [], []
        yield batches, rows
        self._check_end(line)

    def _next(self) -> Line | None:
        line = next(self._lines, None)
        if line is None:
            return None
        try:
            found = _lines_of.decode(line)
        except msgspec.DecodeError as error:
            self._wrong(f"a line cannot be read: {error}")
            return None
        if not isinstance(found, End):
            self._digest.update(line)
        return found

    def _check_end(self, line: Line | None) -> None:
        self.sha256 = self._digest.hexdigest()
        if not isinstance(line, End):
            self._wrong("it is cut off: its last line is missing")
        elif line.sha256 != self.sha256:
            self._wrong("it is not as it was written: its digest is another")
        elif line.entries != self.header.last:
            self._wrong(f"it says {line.entries} entries at its end, {self.header.last} before")
        if next(self._lines, None) is not None:
            self._wrong("it goes on after its end")

    def _row(self, line: EntryLine, batch: BatchLine | None) -> EntryRow:
        entry, command = line.entry, line.command
        earlier = None if command.purchase is None else self._purchases.find(command.purchase)
        changes = [
            StoredChange(
                item.ticket_type,
                item.change,
                item.left_after,
                item.quantity if command.purchase is not None else None,
                item.cancelled if isinstance(item.cancelled, int) else None,
            )
            for item in entry.items
        ]
        changed = command.purchase if entry.kind != REFUSED else None
        paid_too = None
        if changed is not None and entry.kind == CONFIRMED and command.payment_reference:
            paid_too = self._purchases.paid_too(command.user, command.payment_reference, changed)
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
        in_columns = command.kind in ("issue", "withdraw") or (
            command.kind == "buy" and command.items is None
        )
        one = changes[0] if in_columns and len(changes) == 1 else None
        row = EntryRow(
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
            asked_items=None if command.items is None else _encode(_lines(line)).decode(),
            stored_terms=_encode(terms).decode(),
        )
        self._check_told(line, batch, earlier)
        self._note(line, earlier, changed, tuple(changes))
        return row

    def _note(
        self,
        line: EntryLine,
        earlier: Earlier | None,
        changed: str | None,
        changes: tuple[StoredChange, ...],
    ) -> None:
        """What later entries have to know of the purchase."""
        entry, command = line.entry, line.command
        if command.kind == "buy" and entry.kind in (CONFIRMED, HELD):
            purchase = Earlier(
                command.user or 0,
                command.buyer,
                command.hold_seconds,
                command.currency or "",
                tuple(_sold(line)),
                entry.number,
                entry.kind,
                _seconds(entry.at),
                (),
            )
            self._purchases.keep(entry.command, purchase)
        elif changed is not None and earlier is not None:
            later = (entry.kind, command.payment_reference, changes)
            self._purchases.keep(changed, replace(earlier, entries=(*earlier.entries, later)))

    def _check_told(
        self, line: EntryLine, batch: BatchLine | None, earlier: Earlier | None
    ) -> None:
        """What the rule does not give: whom it was for, at which price, when."""
        entry, command = line.entry, line.command
        if batch is None or (entry.batch, entry.at) != (batch.first, batch.at):
            self._told(entry.number, "another batch")
        if earlier is not None:
            who, sold = (earlier.user_id, earlier.buyer), earlier.items
        else:
            who, sold = (command.user or 0, command.buyer), tuple(_sold(line))
        if entry.purchase != (entry.command if command.kind == "buy" else command.purchase):
            self._told(entry.number, "another purchase")
        if command.kind != "buy" and earlier is None:
            return
        if (entry.user or 0, entry.buyer or "") != who:
            self._told(entry.number, "another buyer")
        prices = {item.ticket_type: item.unit_price for item in sold}
        if any(item.unit_price != prices.get(item.ticket_type) for item in entry.items):
            self._told(entry.number, "another price")
        total = sum(Decimal(item.unit_price or 0) * item.quantity for item in entry.items)
        if Decimal(entry.total_price or 0) != total:
            self._told(entry.number, "another total price")

    def _told(self, number: int, what: str) -> None:
        self._found.add(
            OUTCOMES, f"entry {number} names {what} than what it was", self.header.event
        )

    def _wrong(self, what: str) -> None:
        self._found.add(NUMBERING, f"the export: {what}")


def replay_export(file: BinaryIO) -> Replayed:
    """Replay an export of one event.

    Raises:
        ConfigurationError: it is something else.
        OSError: of the file, or of the disk.
    """
    found = Findings()
    reader = _Reader(file, found)
    header = reader.header
    with BoughtByUser() as bought:
        replay = Replay(header.event, found, bought.add)
        for part in reader.parts():
            replay.feed(*part)
        replay.finish(
            LaneRow(header.last, _seconds(header.at), 0, header.extended_seconds),
            [
                CounterRow(each.ticket_type, True, each.issued, each.held, each.sold)
                for each in header.ticket_types
            ],
        )
        if replay.limited:
            for rows in bought.parts():
                check_limits(rows, found, header.event)
    outcomes: Counter[str] = replay.outcomes
    return Replayed(
        ok=not found.counts,
        event=header.event,
        entries=outcomes.total(),
        sha256=reader.sha256,
        outcomes=dict(outcomes),
        open_holds=replay.open_holds,
        issued=sum(each.issued for each in header.ticket_types),
        held=sum(each.held for each in header.ticket_types),
        sold=sum(each.sold for each in header.ticket_types),
        violations=found.counts.total(),
        examples=dict(found.examples),
    )


def _batch(line: BatchLine) -> BatchRow:
    return BatchRow(
        line.first,
        line.last,
        _seconds(line.at),
        Snapshot.parse(line.seen),
        line.ticket_type,
        line.by_drain,
    )


def _lines(line: EntryLine) -> list[dict[str, object]]:
    """The lines of a cart, or of a cancellation, as they are stored: also what is null."""
    return [{"user_limit": None, **item} for item in line.command.items or ()]


def _sold(line: EntryLine) -> Iterator[StoredItem]:
    command = line.command
    if command.kind != "buy":
        return
    if command.items is None:
        yield StoredItem(
            command.ticket_type or 0,
            command.quantity or 0,
            command.unit_price or "0",
            command.user_limit,
        )
        return
    for item in _lines(line):
        yield msgspec.convert(item, StoredItem)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).astimezone(UTC).timestamp()
