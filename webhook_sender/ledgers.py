"""The newest entries of ledgers, read and encoded once for all webhooks that want them."""

import threading
from collections import OrderedDict
from collections.abc import Collection
from itertools import islice
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Engine

from shared.database.engine import statement
from shared.database.ledger import LedgerEntry, read_entries
from webhook_sender.schedule import ENTRIES_MAX

# Of one event; who is further behind reads for himself.
TAIL_ENTRIES: Final = 5_000
READ_ENTRIES: Final = 1_000
# Of all events; a thousand bytes each. The event that was asked for last may have more.
REMEMBERED_ENTRIES: Final = 60_000


class Encoded(NamedTuple):
    number: int
    kind: str
    at: str
    json: msgspec.Raw


class Page(NamedTuple):
    """`last`: the number up to which was looked; what is not wanted counts."""

    entries: list[Encoded]
    last: int


class _Tail:
    """The entries after `after` up to `last`, without a gap."""

    def __init__(self, epoch: str, after: int) -> None:
        self.epoch = epoch
        self.lock = threading.Lock()
        self.restart(after)

    def restart(self, after: int) -> None:
        self.after = self.last = after
        self.entries: list[Encoded] = []

    def append(self, entries: list[Encoded], last: int) -> None:
        self.entries += entries
        self.last = last

    def forget_oldest(self) -> None:
        if len(self.entries) > 2 * TAIL_ENTRIES:
            self.entries = self.entries[-TAIL_ENTRIES:]
            self.after = self.entries[0].number - 1


class Ledgers:
    """Threads may share it."""

    def __init__(self) -> None:
        self._tails: OrderedDict[int, _Tail] = OrderedDict()
        self._lock = threading.Lock()

    def page(
        self,
        engine: Engine,
        event_id: int,
        epoch: str,
        after: int,
        last: int,
        kinds: Collection[str],
    ) -> Page:
        """At most `ENTRIES_MAX` wanted entries after a number, each kept through a failover.

        Of what is remembered, none after `last`.

        Args:
            engine: connections to PostgreSQL.
            event_id: whose ledger.
            epoch: of its numbers.
            after: where to begin.
            last: a number that it has reached, and never less than before: else entries were lost,
                and it has others by now.
            kinds: what is wanted.

        Raises:
            psycopg2.Error: they could not be read.
            LedgerBroken: somebody has changed it by force.
        """
        tail = self._tail(event_id, epoch, after)
        with tail.lock:
            if after > tail.last or last < tail.last:
                tail.restart(after)
            is_near = after >= tail.after and last - after <= TAIL_ENTRIES
            while is_near and tail.last < last:
                rows = min(READ_ENTRIES, last - tail.last)
                tail.append(*_read(engine, event_id, tail.last, last, rows, None))
            if is_near:
                of_kinds = (e for e in tail.entries[after - tail.after :] if e.kind in kinds)
                wanted = list(islice(of_kinds, ENTRIES_MAX))
                full = len(wanted) == ENTRIES_MAX
                tail.forget_oldest()
                return Page(wanted, wanted[-1].number if full else tail.last)
        return _read(engine, event_id, after, last, ENTRIES_MAX, kinds)

    def _tail(self, event_id: int, epoch: str, after: int) -> _Tail:
        with self._lock:
            tail = self._tails.get(event_id)
            if tail is None or tail.epoch != epoch:
                tail = self._tails[event_id] = _Tail(epoch, after)
            self._tails.move_to_end(event_id)
            remembered = sum(len(each.entries) for each in self._tails.values())
            while remembered > REMEMBERED_ENTRIES and len(self._tails) > 1:
                _, forgotten = self._tails.popitem(last=False)
                remembered -= len(forgotten.entries)
            return tail


def _read(
    engine: Engine, event_id: int, after: int, last: int, rows: int, kinds: Collection[str] | None
) -> Page:
    # By the end of the block a standby has what was read, too (docs/decisions/0013).
    with statement(engine) as cursor:
        page = read_entries(cursor, event_id, after, rows=rows, kinds=kinds, reached=last)
    return Page([_encoded(entry) for entry in page.entries], page.last)


def _encoded(entry: LedgerEntry) -> Encoded:
    return Encoded(entry.number, entry.kind, entry.at, msgspec.Raw(msgspec.json.encode(entry)))
