"""The oldest queued purchase of each ticket type, as SQL."""

# To follow WITH RECURSIVE. It takes one step in the queue's index for each ticket type, however
# long the queue is.
OLDEST_QUEUED = """
oldest AS (
    (SELECT ticket_type_id, created_at FROM ticket_purchases
     WHERE status = 'queued' ORDER BY ticket_type_id, seq LIMIT 1)
    UNION ALL
    SELECT n.ticket_type_id, n.created_at FROM oldest o CROSS JOIN LATERAL
        (SELECT ticket_type_id, created_at FROM ticket_purchases
         WHERE status = 'queued' AND ticket_type_id > o.ticket_type_id
         ORDER BY ticket_type_id, seq LIMIT 1) n
)
"""
