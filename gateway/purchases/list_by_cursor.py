"""The SQL that lists purchases by cursor: a user's own, or those of an event for its owner.

A page goes on after the last purchase of the one before, not at a number of rows: so none is
skipped or repeated, however many are sold, decided or cancelled meanwhile. The order is that of the
ids, which are UUIDv7, by the indexes that there are: one more, of an event's purchases in the order
of acceptance, would cost each of them. Only where an index has that order it is used, as for a
user's own.
"""

from typing import Final

import msgspec
from sqlalchemy import Engine

from gateway.event_owner import check_owner
from gateway.purchases.read import (
    ENTRIES,
    FILTERED_ROWS,
    KEPT_OUTCOMES,
    OF_TYPE,
    STATUS,
    Filter,
    Found,
    all_found,
    found_of,
)
from shared.database.engine import statement
from shared.purchases import CANCELLED, CONFIRMED, EXPIRED, HELD, QUEUED, REJECTED, RELEASED
from shared.row_ids import MAX_ID
from shared.web.pagination import bad_cursor

FIRST: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"

# The ways to the commands among which those of a page are, newest first. `fits`: it can be one;
# that it is what the filter wants is looked up.
ANSWERED = """
SELECT command_id AS id, purchase_id IS NULL AND kind::text = ANY(%(kinds)s) AS fits
FROM ledger
WHERE event_id = %(event_id)s AND command_id < %(before)s::uuid
ORDER BY command_id DESC
"""
WAITING = """
SELECT command_id AS id, true AS fits
FROM work_list
WHERE event_id = %(event_id)s AND class = 1 AND command_id < %(before)s::uuid
    AND seq > (SELECT done_seq FROM lanes WHERE event_id = %(event_id)s)
ORDER BY command_id DESC
"""
IN_QUEUE = """
SELECT command_id AS id, seq, true AS fits
FROM work_list
WHERE event_id = %(event_id)s AND class = 1 AND seq < %(before_seq)s
    AND seq > (SELECT done_seq FROM lanes WHERE event_id = %(event_id)s)
ORDER BY seq DESC
"""
# A statement sees each purchase in one of them.
ALL = f"""
SELECT * FROM (
    ({ANSWERED} LIMIT {FILTERED_ROWS}) UNION ALL ({WAITING} LIMIT %(waiting_rows)s)
) every
ORDER BY id DESC
"""
ON_HOLD = """
SELECT purchase_id AS id, true AS fits
FROM holds
WHERE event_id = %(event_id)s AND purchase_id < %(before)s::uuid
ORDER BY purchase_id DESC
"""
# Of each purchase that was changed after its decision the newest entry.
CHANGED = """
SELECT DISTINCT ON (purchase_id)
       purchase_id AS id, kind::text = ANY(%(kinds)s) AS fits
FROM ledger
WHERE event_id = %(event_id)s AND purchase_id < %(before)s::uuid
ORDER BY purchase_id DESC, number DESC
"""
# Whom a key of the owner bought for.
OF_BUYER = """
SELECT id, seq, kind = 'buy' AS fits
FROM requests
WHERE event_id = %(event_id)s AND user_id = %(user_id)s AND buyer = %(buyer)s
    AND seq < %(before_seq)s
ORDER BY seq DESC
"""
# What a user bought.
OF_USER = """
SELECT id, seq, kind = 'buy' AS fits
FROM requests
WHERE user_id = %(user_id)s AND seq < %(before_seq)s
ORDER BY seq DESC
"""
OF_USER_FOR_BUYER = """
SELECT id, seq, kind = 'buy' AS fits
FROM requests
WHERE user_id = %(user_id)s AND buyer = %(buyer)s AND buyer <> '' AND seq < %(before_seq)s
ORDER BY seq DESC
"""
# A reference confirms one purchase of an owner.
PAID = """
SELECT purchase_id AS id, true AS fits
FROM requests c
WHERE user_id = %(user_id)s AND payment_reference = %(payment_reference)s
    AND event_id = %(event_id)s AND purchase_id < %(before)s::uuid
    AND EXISTS (SELECT FROM ledger WHERE event_id = c.event_id AND command_id = c.id
                    AND kind = 'confirmed' OFFSET 0)
ORDER BY purchase_id DESC
"""

SOURCES: Final = {
    None: ALL,
    QUEUED: IN_QUEUE,
    HELD: ON_HOLD,
    CONFIRMED: ANSWERED,
    REJECTED: ANSWERED,
    RELEASED: CHANGED,
    EXPIRED: CHANGED,
    CANCELLED: CHANGED,
}
# The kinds of entries of the purchases with a status; of others the status itself.
KINDS: Final = {None: [CONFIRMED, HELD, REJECTED], CONFIRMED: [CONFIRMED, HELD]}
SEQ_OF = """
SELECT seq FROM requests
WHERE id = %(before)s::uuid
    AND CASE WHEN %(event_id)s IS NULL THEN user_id = %(user_id)s ELSE event_id = %(event_id)s END
"""


def list_by_cursor(
    engine: Engine, wanted: Filter, before: str | None, rows: int, *, position_max_rows: int
) -> tuple[list[Found], str | None]:
    """A page of purchases, newest first, and the command that the next one goes on after.

    A page has fewer purchases, or none, where the filter left out so many that it goes on in the
    next.

    Args:
        engine: the database.
        wanted: which purchases.
        before: the command that this page goes on after; None: it is the first.
        rows: of a full page.
        position_max_rows: up to which positions are exact.

    Raises:
        NotFound: there is no such event.
        PermissionDenied: it is another user's.
        InvalidInput: `before` is no command of the event or user.
        DATABASE_UNAVAILABLE: nothing was read.
    """
    parameters = msgspec.structs.asdict(wanted) | {
        "rows": rows,
        "kinds": KINDS.get(wanted.status, [wanted.status]),
        "before": before or FIRST,
        # Each of them fits, but for its ticket type; and there may be many to sort.
        "waiting_rows": FILTERED_ROWS if wanted.ticket_type_id else rows + 1,
        "before_seq": MAX_ID,
    }
    with statement(engine) as cursor:
        if wanted.event_id is not None:
            check_owner(cursor, wanted.user_id, wanted.event_id)
        if before is not None:
            cursor.execute(SEQ_OF, parameters)
            if (seq := cursor.fetchone()) is None:
                raise bad_cursor()
            (parameters["before_seq"],) = seq
        cursor.execute(_statement(wanted), parameters)
        ((looked_at, *_), *_) = columns = cursor.fetchall()
        found = all_found(cursor, (row[1:] for row in columns if row[1]), position_max_rows)
    if len(found) > rows:
        return found[:rows], found[rows - 1].purchase.id
    return found, looked_at


def _statement(wanted: Filter) -> str:
    """Reads one purchase more than the page has; or, if there are not as many, which command was
    the last that it looked at, if there are more.
    """
    source = SOURCES[wanted.status] if wanted.buyer is None else OF_BUYER
    if wanted.payment_reference is not None:
        source = PAID
    if wanted.event_id is None:
        source = OF_USER if wanted.buyer is None else OF_USER_FOR_BUYER
    order = "id" if source in {ALL, ANSWERED, ON_HOLD, CHANGED, PAID} else "seq"
    return f"""
WITH page AS MATERIALIZED (
    SELECT r.*
    FROM ({source} LIMIT {FILTERED_ROWS}) command
    CROSS JOIN LATERAL (SELECT * FROM requests WHERE id = command.id OFFSET 0) r
    {ENTRIES if wanted.status else ""}
    WHERE command.fits AND r.kind = 'buy' AND {OF_TYPE}
        AND (%(buyer)s IS NULL OR r.buyer = %(buyer)s)
        {f"AND {STATUS} = %(status)s" if wanted.status else ""}
    ORDER BY command.{order} DESC
    LIMIT %(rows)s + 1)
SELECT CASE WHEN (SELECT count(*) FROM page) <= %(rows)s THEN (
           SELECT id::text FROM ({source} OFFSET {FILTERED_ROWS - 1} LIMIT 1) last) END,
       found.*
FROM (SELECT) one LEFT JOIN ({found_of("page")} WHERE {KEPT_OUTCOMES}) found ON true
ORDER BY found.{order} DESC
"""
