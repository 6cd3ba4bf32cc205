"""The oldest queued command of each event, as SQL."""

# To follow WITH RECURSIVE. It takes one step in the work list's index for each event, however long
# its queue is, and looks up each of their requests (OFFSET 0). KEDA reads the same
# (deploy/kubernetes/components/keda/workers.yaml).
OLDEST_QUEUED = """
head AS (
    (SELECT event_id, command_id FROM work_list ORDER BY event_id, class, seq LIMIT 1)
    UNION ALL
    SELECT n.event_id, n.command_id FROM head h CROSS JOIN LATERAL
        (SELECT event_id, command_id FROM work_list WHERE event_id > h.event_id
         ORDER BY event_id, class, seq LIMIT 1) n
), oldest AS (
    SELECT h.event_id, r.created_at FROM head h CROSS JOIN LATERAL
        (SELECT created_at FROM requests WHERE id = h.command_id OFFSET 0) r
)
"""
