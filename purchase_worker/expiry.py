"""Queues an `expire` command for each hold that is due; the lane decides whether it ends.

So a payment and its hold's end have one order, and a payment that comes first is good.
"""

from typing import NamedTuple

from psycopg2.extensions import cursor

from shared.purchases import HAS_END

# In a pass of the sweeper, the longest due first: a statement that has more to do than its timeout
# allows would end none. A confirmation that comes meanwhile waits for no more of them: less than a
# second.
EXPIRE_ROWS = 20_000
# Looked at in a pass, whether or not their holds are due, for the same reason: one account can have
# open holds for hundreds of thousands of events. The next pass continues after them.
EXPIRE_EVENTS = 20_000

# A UUIDv7, as other commands have: so new ones stand together in every index of ids, and an event's
# purchases in the order of theirs (gateway/purchases/list_by_cursor.py). PostgreSQL 18 has it.
NEW_ID = """
(lpad(to_hex(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
 || substr(gen_random_uuid()::text, 16))::uuid
"""

# One step in the index for each event with holds, however many it has. Where an expiry is queued
# already, no other is: so none is queued twice.
QUEUE_DUE = f"""
WITH RECURSIVE head AS (
    (SELECT event_id, ends_at, 1 AS nth FROM holds WHERE event_id > %(after)s AND {HAS_END}
     ORDER BY event_id, ends_at LIMIT 1)
    UNION ALL
    SELECT n.event_id, n.ends_at, h.nth + 1 FROM head h CROSS JOIN LATERAL
        (SELECT event_id, ends_at FROM holds WHERE event_id > h.event_id AND {HAS_END}
         ORDER BY event_id, ends_at LIMIT 1) n
    WHERE h.nth < %(events)s
), due AS (
    SELECT h.event_id, h.ends_at + make_interval(secs => l.extended_seconds) AS due_at,
           now() - make_interval(secs => l.extended_seconds) AS ends_by
    FROM head h CROSS JOIN LATERAL (
        SELECT extended_seconds FROM lanes WHERE event_id = h.event_id OFFSET 0) l
    WHERE h.ends_at <= now() - make_interval(secs => l.extended_seconds)
), queued AS (
    INSERT INTO requests (id, event_id, kind, purchase_id, user_id, buyer)
    SELECT {NEW_ID}, waiting.event_id, 'expire', hold.purchase_id, p.user_id, p.buyer
    FROM (
        SELECT * FROM due WHERE NOT EXISTS (
            SELECT FROM work_list w CROSS JOIN LATERAL (
                SELECT kind FROM requests WHERE id = w.command_id OFFSET 0) r
            WHERE w.event_id = due.event_id AND w.class = 0 AND r.kind = 'expire' OFFSET 0)
        ORDER BY due_at OFFSET 0) waiting
    CROSS JOIN LATERAL (
        SELECT purchase_id FROM holds
        WHERE event_id = waiting.event_id AND ends_at <= ends_by AND {HAS_END}
        ORDER BY ends_at, purchase_id LIMIT %(rows)s) hold
    CROSS JOIN LATERAL (
        SELECT user_id, buyer FROM requests WHERE id = hold.purchase_id OFFSET 0) p
    LIMIT %(rows)s
)
SELECT ARRAY(SELECT event_id FROM due),
       coalesce((SELECT event_id FROM head WHERE nth = %(events)s), 0)
"""


class Due(NamedTuple):
    """Events whose holds are due. `walked_to`: the last that was looked at; 0: all were."""

    events: list[int]
    walked_to: int


def queue_due(cursor: cursor, after: int = 0) -> Due:
    """Queue the expiry of holds that are due, of the next `EXPIRE_EVENTS` events after this one.

    Returns the events with such holds, also those whose expiry was queued before, or waits for a
    later call because `EXPIRE_ROWS` were queued.
    """
    wanted = {"rows": EXPIRE_ROWS, "events": EXPIRE_EVENTS, "after": after}
    cursor.execute(QUEUE_DUE, wanted)
    ((events, walked_to),) = cursor.fetchall()
    return Due(events, walked_to)
