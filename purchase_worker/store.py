"""The worker's SQL: lock lanes, read the work list, write the ledger.

A batch of any number of events takes three round trips, one more where purchases have limits, and
one more where earlier purchases are resolved: BEGIN is sent with the locks, COMMIT with the writes
and the read of what was queued meanwhile. The work list is read by a statement of its own, which
sees everything that was there when the locks were taken.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec
from msgspec.structs import replace
from psycopg2.extensions import cursor

from purchase_worker.decision import (
    NOT_ENOUGH_TICKETS,
    Buy,
    Cancel,
    Change,
    Command,
    Confirm,
    Entry,
    Expire,
    Extend,
    Holder,
    Issue,
    Line,
    Purchase,
    Release,
    State,
)
from shared.database.confirmed_commit import confirm
from shared.database.engine import roll_back
from shared.database.oldest_queued import OLDEST_QUEUED
from shared.database.prepared_statement import Prepared, array_literal, plain_array
from shared.purchases import (
    QUEUED,
    REJECTED,
    StoredChange,
    StoredItem,
    StoredLine,
    as_time,
    rfc3339,
)

# NO KEY: nothing references a lane, and nobody else locks it so. SKIP LOCKED: see drain.py. Only an
# event by itself is closed (CLOSE_SOLD_OUT): so of several nobody asks whether they are sold out.
LOCK_LANES = Prepared(
    "lock_lanes",
    f"""
SELECT event_id, number, {as_time("at")}, (SELECT {as_time("now()")}), done_seq,
       extended_seconds,
       cardinality(%(event_ids)s::bigint[]) = 1 AND NOT EXISTS (
           SELECT FROM counters WHERE event_id = l.event_id AND sold < issued OFFSET 0)
FROM lanes l WHERE event_id = ANY(%(event_ids)s::bigint[])
FOR NO KEY UPDATE SKIP LOCKED
""",
)

# The first commands of the lane `wanted`. Decided rows stay in the index until a vacuum, and a
# million of them made a batch three times as long: so purchases are read from `done_seq` on, below
# which none waits or can come (docs/decisions/0021).
WAITING = """
    SELECT * FROM (
        (SELECT class, seq, command_id FROM work_list
         WHERE event_id = wanted.event_id AND class = 0 ORDER BY seq LIMIT {rows})
        UNION ALL
        (SELECT class, seq, command_id FROM work_list
         WHERE event_id = wanted.event_id AND class = 1 AND seq > wanted.done_seq
         ORDER BY seq LIMIT {rows})
    ) both_classes ORDER BY class, seq LIMIT {rows}
"""

# What a command needs for its decision and its result.
COMMAND = """
    r.id::text, r.kind::text, r.user_id, r.ticket_type_id, r.quantity, r.user_limit,
    r.event_user_limit, r.unit_price::text, r.currency, r.items::text, r.hold_seconds, r.buyer,
    CASE WHEN r.purchase_id IS NOT NULL
         THEN jsonb_build_array(r.purchase_id, r.payment_reference, r.restock)::text END,
    r.created_at::text, r.request_id
"""
# What is left and held of the ticket types of a cart.
COUNTERS = """
    SELECT jsonb_object_agg(c.ticket_type_id, jsonb_build_array(c.issued - c.held - c.sold, c.held)
                            )::text
    FROM jsonb_array_elements({items}) item CROSS JOIN LATERAL (
        SELECT * FROM counters WHERE event_id = {event_id}
            AND ticket_type_id = (item->>'ticket_type')::bigint OFFSET 0) c
"""
# Read after the locks were taken, so every command that was visible before is seen, in order.
# OFFSET 0 makes the planner look up each row by its key, however large the tables are.
READ_WORK = Prepared(
    "read_work",
    f"""
SELECT wanted.event_id, counter.remaining, counter.held,
       CASE WHEN r.items IS NOT NULL THEN (
           {COUNTERS.format(event_id="wanted.event_id", items="r.items")}) END,
       (SELECT pg_current_snapshot()::text), {COMMAND}
FROM unnest(%(event_ids)s::bigint[], %(done_seqs)s::bigint[]) AS wanted (event_id, done_seq)
CROSS JOIN LATERAL ({WAITING.format(rows="%(rows)s")}) work
CROSS JOIN LATERAL (SELECT * FROM requests WHERE id = work.command_id OFFSET 0) r
LEFT JOIN LATERAL (
    SELECT issued - held - sold AS remaining, held FROM counters
    WHERE event_id = wanted.event_id AND ticket_type_id = r.ticket_type_id OFFSET 0) counter ON true
ORDER BY wanted.event_id, work.class, work.seq
""",
)

READ_OWNED = Prepared(
    "read_owned",
    """
SELECT wanted.event_id, wanted.user_id, wanted.buyer, owned.ticket_type_id, owned.quantity
FROM unnest(%(event_ids)s::bigint[], %(user_ids)s::bigint[], %(buyers)s::text[])
    AS wanted (event_id, user_id, buyer)
CROSS JOIN LATERAL (
    SELECT line.ticket_type_id, sum(line.quantity)::int AS quantity
    FROM requests r
    CROSS JOIN LATERAL (
        SELECT FROM ledger e WHERE e.event_id = r.event_id AND e.command_id = r.id
            AND e.kind IN ('confirmed', 'held') OFFSET 0) taken
    CROSS JOIN LATERAL (
        SELECT r.ticket_type_id, r.quantity WHERE r.items IS NULL
        UNION ALL
        SELECT (item->>'ticket_type')::bigint, (item->>'quantity')::int
        FROM jsonb_array_elements(r.items) item
        UNION ALL
        SELECT (item->>'ticket_type')::bigint, -(item->>'quantity')::int
        FROM (SELECT items FROM ledger e WHERE e.event_id = r.event_id AND e.purchase_id = r.id
                  AND e.kind <> 'confirmed' OFFSET 0) back, jsonb_array_elements(back.items) item
    ) line
    WHERE (r.event_id, r.user_id, r.buyer)
        BETWEEN (wanted.event_id, wanted.user_id, wanted.buyer)
            AND (wanted.event_id, wanted.user_id, wanted.buyer) AND r.kind = 'buy'
    GROUP BY line.ticket_type_id OFFSET 0) owned
""",
)

# As their newest entries left them; see `Purchase`. Nothing was cancelled of what is held.
READ_PURCHASES = Prepared(
    "read_purchases",
    f"""
SELECT p.event_id, p.id::text, p.user_id, p.buyer, p.ticket_type_id, p.quantity, p.items::text,
       coalesce(resolved.status, answer.kind::text), {as_time("hold.ends_at")}, resolved.reference,
       cancelled.items::text, counter.remaining, counter.held,
       CASE WHEN p.items IS NOT NULL THEN (
           {COUNTERS.format(event_id="p.event_id", items="p.items")}) END
FROM unnest(%(ids)s::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT * FROM requests WHERE id = wanted.id AND kind = 'buy' OFFSET 0) p
LEFT JOIN LATERAL (
    SELECT issued - held - sold AS remaining, held FROM counters
    WHERE event_id = p.event_id AND ticket_type_id = p.ticket_type_id OFFSET 0) counter ON true
LEFT JOIN LATERAL (
    SELECT kind FROM ledger WHERE event_id = p.event_id AND command_id = p.id OFFSET 0
) answer ON true
LEFT JOIN LATERAL (
    SELECT e.kind::text AS status, c.payment_reference AS reference
    FROM ledger e CROSS JOIN LATERAL (
        SELECT payment_reference FROM requests WHERE id = e.command_id OFFSET 0) c
    WHERE e.event_id = p.event_id AND e.purchase_id = p.id AND e.kind <> 'cancelled' OFFSET 0
) resolved ON true
LEFT JOIN LATERAL (
    SELECT ends_at FROM holds WHERE event_id = p.event_id AND purchase_id = p.id OFFSET 0
) hold ON true
LEFT JOIN LATERAL (
    SELECT jsonb_object_agg(ticket_type, so_far) AS items FROM (
        SELECT item->>'ticket_type' AS ticket_type, max((item->>'cancelled')::int) AS so_far
        FROM (SELECT items FROM ledger e
              WHERE hold.ends_at IS NULL AND e.event_id = p.event_id AND e.purchase_id = p.id
                  AND e.kind = 'cancelled' OFFSET 0) e, jsonb_array_elements(e.items) item
        GROUP BY 1) lines
) cancelled ON true
""",
)

# The triggers of the ledger do the rest: commands leave the work list, lane and counters move
# (migration 0012). They raise unless each entry fits its command and follows those before it.
WRITE = Prepared(
    "write_entries",
    """
WITH batch AS (
    INSERT INTO batches (event_id, first_number, last_number, at, seen, decided_by, locked_lanes)
    SELECT event_id, first_number, last_number, at, %(seen)s::pg_snapshot,
           %(decided_by)s, %(locked_lanes)s
    FROM unnest(%(event_ids)s::bigint[], %(firsts)s::bigint[], %(lasts)s::bigint[],
                %(ats)s::timestamptz[]) AS part (event_id, first_number, last_number, at)
)
INSERT INTO ledger (event_id, number, command_id, purchase_id, kind, reason, ticket_type_id, change,
                    left_after, items)
SELECT * FROM unnest(
    %(entry_event_ids)s::bigint[], %(numbers)s::bigint[], %(command_ids)s::uuid[],
    %(purchase_ids)s::uuid[], %(kinds)s::entry_kind[], %(reasons)s::rejection_reason[],
    %(entry_ticket_type_ids)s::bigint[], %(changes)s::int[], %(lefts)s::int[], %(items)s::jsonb[])
""",
)

# The rule for an event with nothing left, without a round trip: nothing fits any more. Only while
# no resolution waits, which might issue tickets.
CLOSE_SOLD_OUT = Prepared(
    "close_sold_out",
    f"""
WITH closed AS MATERIALIZED (
    SELECT work.nth, r.*
    FROM (
        SELECT command_id, row_number() OVER (ORDER BY seq) AS nth FROM (
            SELECT seq, command_id FROM work_list
            WHERE event_id = %(event_id)s AND class = 1 AND seq > %(done_seq)s
              AND NOT EXISTS (SELECT FROM work_list WHERE event_id = %(event_id)s AND class = 0)
              AND NOT EXISTS (SELECT FROM counters
                              WHERE event_id = %(event_id)s AND sold < issued)
            ORDER BY seq LIMIT %(rows)s) oldest
    ) work
    CROSS JOIN LATERAL (SELECT * FROM requests WHERE id = work.command_id OFFSET 0) r
), batch AS (
    INSERT INTO batches (event_id, first_number, last_number, at, seen, decided_by, locked_lanes)
    SELECT %(event_id)s, %(number)s + 1, %(number)s + count(*),
           greatest(now(), %(lane_at)s::timestamptz, max(created_at)), pg_current_snapshot(),
           %(decided_by)s, 1
    FROM closed HAVING count(*) > 0
    RETURNING at
), entry AS (
    INSERT INTO ledger (event_id, number, command_id, kind, reason, ticket_type_id, change,
                        left_after, items)
    SELECT event_id, %(number)s + nth, id, '{REJECTED}', '{NOT_ENOUGH_TICKETS}', ticket_type_id,
           CASE WHEN items IS NULL THEN 0 END, CASE WHEN items IS NULL THEN 0 END,
           CASE WHEN items IS NOT NULL THEN (
               SELECT jsonb_agg(jsonb_build_object('ticket_type', item->'ticket_type', 'change', 0,
                                                   'left_after', 0) ORDER BY line)
               FROM jsonb_array_elements(items) WITH ORDINALITY AS i (item, line)) END
    FROM closed ORDER BY nth
)
SELECT (SELECT {as_time("at")} FROM batch), {COMMAND} FROM closed r ORDER BY nth
""",
)

# Only where tracing is on, so that others read one column less.
READ_TRACEPARENTS = Prepared(
    "read_traceparents",
    """
SELECT id::text, traceparent FROM requests
WHERE id = ANY(%(ids)s::uuid[]) AND traceparent IS NOT NULL
""",
)

# In this form the planner uses the work list's index; EXISTS may become a scan of the whole table.
# One row of either class is enough, whichever comes first.
QUEUED_AMONG = Prepared(
    "queued_among",
    """
SELECT event_id FROM lanes
WHERE event_id = ANY(%(event_ids)s::bigint[]) AND coalesce(
    (SELECT true FROM work_list WHERE event_id = lanes.event_id AND class = 1
         AND seq > CASE WHEN %(whole)s THEN 0 ELSE done_seq END ORDER BY seq LIMIT 1),
    (SELECT true FROM work_list WHERE event_id = lanes.event_id AND class = 0
     ORDER BY seq LIMIT 1))
""",
)

# A row of the future was accepted before the server's clock was set back, at an unknown time.
QUEUED_TOO_LONG = f"""
WITH RECURSIVE {OLDEST_QUEUED}
SELECT event_id FROM oldest
WHERE created_at < now() - make_interval(secs => %(seconds)s) OR created_at > clock_timestamp()
ORDER BY created_at
"""

Row = tuple[Any, ...]


class Lane(msgspec.Struct, frozen=True):
    """An event whose lane this transaction has locked.

    `now`: when the transaction began. `done_seq`: see `WAITING`. `sold_out`: of one that was wanted
    by itself, nothing was left or held of any of its ticket types when the lock was taken, or just
    before.
    """

    event_id: int
    number: int
    at: str
    now: str
    done_seq: int
    extended_seconds: int
    sold_out: bool


class Work(msgspec.Struct, frozen=True, gc=False):
    """A command of the work list with the rest of its result, as clients read it."""

    command: Command
    unit_prices: tuple[str, ...]
    currency: str
    created_at: str
    request_id: str | None


class Queue(msgspec.Struct, frozen=True):
    """The first commands of a lane; and of their ticket types, what is left and held."""

    work: list[Work]
    left: dict[int, int]
    held: dict[int, int]


class Part(msgspec.Struct, frozen=True):
    """What a batch decides of one event: an entry for each command, and the states around them."""

    lane: Lane
    work: Sequence[Work]
    entries: Sequence[Entry]
    before: State
    after: State

    @property
    def decided_at(self) -> str:
        """As clients read it."""
        return self.after.at


class Recheck(msgspec.Struct, frozen=True):
    """Whose queues are read again when the locks are released. `whole`: trust no `done_seq`."""

    event_ids: Sequence[int]
    whole: bool

    def bind(self, cursor: cursor) -> bytes:
        parameters = {"event_ids": plain_array(self.event_ids), "whole": self.whole}
        return QUEUED_AMONG.bind(cursor, parameters)


_items = msgspec.json.Decoder(tuple[StoredItem, ...])
_counters = msgspec.json.Decoder(dict[int, tuple[int, int]])
_cancelled = msgspec.json.Decoder(dict[int, int])
_resolution = msgspec.json.Decoder(tuple[str, str | None, bool | None])
_lines_of = msgspec.json.Decoder(tuple[StoredLine, ...])


def begin(cursor: cursor, event_ids: Iterable[int], *, whole: bool = False) -> list[Lane]:
    """Begin a transaction and lock the lanes, except those that another transaction holds.

    If none could be locked, the transaction is rolled back. `whole`: trust no `done_seq`.
    """
    lock = LOCK_LANES.bind(cursor, {"event_ids": plain_array(event_ids)})
    cursor.execute(b"BEGIN; " + lock)
    found = cursor.fetchall()
    if not found:
        roll_back(cursor)
    lanes = [Lane(*row) for row in found]
    return [replace(lane, done_seq=0) for lane in lanes] if whole else lanes


def read_work(cursor: cursor, lanes: Sequence[Lane], rows: int) -> tuple[dict[int, Queue], str]:
    """The first `rows` commands of each locked lane.

    Returns them by event, in order, and which transactions were visible.
    """
    READ_WORK.run(
        cursor,
        {
            "event_ids": plain_array(lane.event_id for lane in lanes),
            "done_seqs": plain_array(lane.done_seq for lane in lanes),
            "rows": rows,
        },
    )
    found = cursor.fetchall()
    queues = {}
    for event_id, group in groupby(found, itemgetter(0)):
        queue = queues[event_id] = Queue([], {}, {})
        for _event_id, remaining, held, counters, _seen, *command in group:
            queue.work.append(_work(command))
            _add_counters(queue, command[3], remaining, held, counters)
    return queues, found[0][4] if found else ""


def read_owned(
    cursor: cursor, who: Sequence[tuple[int, Holder]]
) -> dict[int, dict[Holder, dict[int, int]]]:
    """Tickets by event, holder and ticket type, for these pairs of event and holder."""
    READ_OWNED.run(
        cursor,
        {
            "event_ids": plain_array(event_id for event_id, _ in who),
            "user_ids": plain_array(user_id for _, (user_id, _) in who),
            "buyers": array_literal(buyer for _, (_, buyer) in who),
        },
    )
    owned: dict[int, dict[Holder, dict[int, int]]] = {}
    for event_id, user_id, buyer, ticket_type_id, quantity in cursor.fetchall():
        of_event = owned.setdefault(event_id, {})
        of_event.setdefault((user_id, buyer), {})[ticket_type_id] = quantity
    return owned


def read_purchases(
    cursor: cursor, ids: Iterable[str], queues: Mapping[int, Queue]
) -> dict[int, dict[str, Purchase]]:
    """Earlier purchases by event and id; adds what is left and held of their types to `queues`."""
    READ_PURCHASES.run(cursor, {"ids": plain_array(ids)})
    purchases: dict[int, dict[str, Purchase]] = {}
    for (
        event_id,
        id_,
        user_id,
        buyer,
        ticket_type_id,
        quantity,
        items,
        *newest,
    ) in cursor.fetchall():
        status, ends_at, reference, cancelled, remaining, held, counters = newest
        if items is None:
            lines: tuple[Line, ...] = (Line(ticket_type_id, quantity),)
        else:
            stored = _lines_of.decode(items)
            lines = tuple(Line(line.ticket_type, line.quantity) for line in stored)
        purchases.setdefault(event_id, {})[id_] = Purchase(
            (user_id, buyer),
            lines,
            status or QUEUED,
            ends_at,
            reference,
            {} if cancelled is None else _cancelled.decode(cancelled),
        )
        _add_counters(queues[event_id], ticket_type_id, remaining, held, counters)
    return purchases


def write_and_commit(
    cursor: cursor,
    parts: Sequence[Part],
    *,
    locked_lanes: int,
    seen: str,
    decided_by: str,
    recheck: Recheck,
) -> list[int]:
    """Write the entries; returns which of `recheck` have queued commands after the commit.

    Raises:
        psycopg2.IntegrityError: a guard failed, which the locks make impossible.
        CommitUnconfirmed: all is written, but a failover may undo it.
    """
    entries = [entry for part in parts for entry in part.entries]
    write = WRITE.bind(
        cursor,
        {
            "entry_event_ids": plain_array(p.lane.event_id for p in parts for _ in p.entries),
            "numbers": plain_array(e.number for e in entries),
            "command_ids": plain_array(e.command.id for e in entries),
            "purchase_ids": _none_or_array([e.purchase_id for e in entries]),
            "kinds": plain_array(e.kind for e in entries),
            "reasons": plain_array(e.reason or "NULL" for e in entries),
            **_lines(entries),
            "event_ids": plain_array(part.lane.event_id for part in parts),
            "firsts": plain_array(part.before.number + 1 for part in parts),
            "lasts": plain_array(part.after.number for part in parts),
            "ats": array_literal(part.decided_at for part in parts),
            "seen": seen,
            "decided_by": decided_by,
            "locked_lanes": locked_lanes,
        },
    )
    return _end(cursor, recheck, write, b"COMMIT")


def close_sold_out(
    cursor: cursor, lane: Lane, *, rows: int, decided_by: str
) -> tuple[list[Work], str]:
    """Reject the oldest queued purchases of a sold-out event, unless a resolution waits.

    Returns them in order, and when they were decided.
    """
    CLOSE_SOLD_OUT.run(
        cursor,
        {
            "event_id": lane.event_id,
            "done_seq": lane.done_seq,
            "rows": rows,
            "number": lane.number,
            "lane_at": lane.at,
            "decided_by": decided_by,
        },
    )
    closed = cursor.fetchall()
    return [_work(command) for _at, *command in closed], closed[0][0] if closed else ""


def commit(cursor: cursor, recheck: Recheck) -> list[int]:
    """Commit; returns and raises as `write_and_commit` does."""
    return _end(cursor, recheck, b"COMMIT")


def rollback_and_recheck(cursor: cursor, recheck: Recheck) -> list[int]:
    """End a transaction that wrote nothing; returns as `commit` does."""
    return _end(cursor, recheck, b"ROLLBACK")


def queued_among(cursor: cursor, recheck: Recheck) -> list[int]:
    cursor.execute(recheck.bind(cursor))
    return [row[0] for row in cursor.fetchall()]


def read_traceparents(cursor: cursor, ids: Iterable[str]) -> dict[str, str]:
    """The traceparents of the traced ones among these purchases."""
    READ_TRACEPARENTS.run(cursor, {"ids": plain_array(ids)})
    return dict(cursor.fetchall())


def queued_too_long(cursor: cursor, seconds: float) -> list[int]:
    """Events with a command that has been queued for longer, the oldest first."""
    cursor.execute(QUEUED_TOO_LONG, {"seconds": seconds})
    return [row[0] for row in cursor.fetchall()]


def _end(cursor: cursor, recheck: Recheck, *ending: bytes) -> list[int]:
    """The work list is read last, when the locks are released: see drain.py."""
    read = recheck.bind(cursor)
    cursor.execute(b"; ".join((*ending, read)))
    confirm(cursor.connection)
    return [row[0] for row in cursor.fetchall()]


def _add_counters(
    queue: Queue,
    ticket_type_id: int | None,
    remaining: int | None,
    held: int | None,
    counters: str | None,
) -> None:
    """Of the one ticket type, or of a cart's; None of a deleted one, or where there is none."""
    if ticket_type_id is not None and remaining is not None:
        queue.left[ticket_type_id] = remaining
        queue.held[ticket_type_id] = held or 0
    elif counters is not None:
        for id_, (left, of_cart) in _counters.decode(counters).items():
            queue.left[id_] = left
            queue.held[id_] = of_cart


def _work(row: Sequence[Any]) -> Work:
    """A command from the columns of `COMMAND`."""
    id_, kind, user_id, ticket_type_id, quantity, user_limit, event_limit, *terms = row
    unit_price, currency, items, hold_seconds, buyer, resolution, created, request_id = terms
    created_at = rfc3339(created)
    if kind != "buy":
        if kind == "extend":
            command: Command = Extend(id_, hold_seconds)
        elif resolution is None:
            command = Issue(id_, ticket_type_id, quantity if kind == "issue" else -quantity)
        else:
            command = _resolving(id_, kind, items, *_resolution.decode(resolution))
        return Work(command, (), "", created_at, request_id)
    if items is None:
        lines: tuple[Line, ...] = (Line(ticket_type_id, quantity, user_limit),)
        prices: tuple[str, ...] = (unit_price,)
    else:
        stored = _items.decode(items)
        lines = tuple(Line(i.ticket_type, i.quantity, i.user_limit) for i in stored)
        prices = tuple(i.unit_price for i in stored)
    command = Buy(id_, user_id, lines, event_limit, hold_seconds, buyer)
    return Work(command, prices, currency, created_at, request_id)


def _resolving(
    id_: str,
    kind: str,
    items: str | None,
    purchase_id: str,
    reference: str | None,
    restock: bool | None,
) -> Command:
    match kind, reference, items:
        case "confirm", str(), _:
            return Confirm(id_, purchase_id, reference)
        case "cancel", _, str():
            lines = _lines_of.decode(items)
            return Cancel(
                id_,
                purchase_id,
                tuple(Line(line.ticket_type, line.quantity) for line in lines),
                bool(restock),
            )
        case "release", _, _:
            return Release(id_, purchase_id)
    return Expire(id_, purchase_id)


def _lines(entries: Sequence[Entry]) -> dict[str, str]:
    """What entries changed: of one line in columns, else as JSON."""
    in_columns = [len(e.changes) == 1 and e.changes[0].quantity is None for e in entries]
    one = [e.changes[0] if plain else None for e, plain in zip(entries, in_columns, strict=True)]
    return {
        "entry_ticket_type_ids": plain_array(c.ticket_type_id if c else "NULL" for c in one),
        "changes": plain_array(c.change if c else "NULL" for c in one),
        "lefts": plain_array(c.left_after if c else "NULL" for c in one),
        "items": _none_or_array(
            [
                None if plain else _changes_json(entry.changes)
                for entry, plain in zip(entries, in_columns, strict=True)
            ]
        ),
    }


def _none_or_array(values: Sequence[str | None]) -> str:
    """An array that is too short is extended by nulls: so if all are None they cost nothing."""
    return array_literal(values) if any(values) else "{}"


def _changes_json(changes: Iterable[Change]) -> str:
    stored = [
        StoredChange(c.ticket_type_id, c.change, c.left_after, c.quantity, c.cancelled)
        for c in changes
    ]
    return msgspec.json.encode(stored).decode()
