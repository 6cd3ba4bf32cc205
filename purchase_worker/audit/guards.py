"""The guards (triggers and constraints) of a sale: which there must be, which are in place."""

from typing import Final

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, lower case there

# By table. A test compares this list with what the migrations make.
GUARDS: Final = {
    "requests": {
        "requests_accept",
        "requests_buyer_length",
        "requests_hold_seconds_positive",
        "requests_idempotency",
        "requests_insert_only",
        "requests_key_has_fingerprint",
        "requests_key_length",
        "requests_lines",
        "requests_not_as_replica",
        "requests_note_length",
        "requests_payment_reference_length",
        "requests_pkey",
        "requests_quantity_positive",
        "requests_read_committed",
        "requests_terms",
        "requests_unit_price_not_negative",
        "requests_user_limits_positive",
    },
    "work_list": {
        "work_list_class_known",
        "work_list_kept",
        "work_list_never_truncated",
        "work_list_pkey",
    },
    "holds": {
        "holds_kept",
        "holds_never_truncated",
        "holds_pkey",
    },
    "ledger": {
        "ledger_apply",
        "ledger_change_of_kind",
        "ledger_insert_only",
        "ledger_left_not_negative",
        "ledger_lines",
        "ledger_not_as_replica",
        "ledger_number_positive",
        "ledger_one_answer",
        "ledger_pkey",
        "ledger_reason",
    },
    "batches": {
        "batches_follow",
        "batches_insert_only",
        "batches_numbers",
        "batches_pkey",
    },
    "lanes": {
        "lanes_kept",
        "lanes_never_truncated",
        "lanes_number_not_negative",
        "lanes_pkey",
    },
    "counters": {
        "counters_kept",
        "counters_never_oversold",
        "counters_never_truncated",
        "counters_pkey",
        "counters_ticket_type_id_fkey",
    },
    "ticket_types": {
        "ticket_types_event_id_fkey",
        "ticket_types_hold_seconds_bounded",
        "ticket_types_id_frozen",
        "ticket_types_id_positive",
        "ticket_types_issue_moved",
        "ticket_types_max_per_purchase_bounded",
        "ticket_types_max_per_purchase_positive",
        "ticket_types_max_per_user_positive",
        "ticket_types_name_length",
        "ticket_types_name_trimmed",
        "ticket_types_never_truncated",
        "ticket_types_not_as_replica",
        "ticket_types_of_event",
        "ticket_types_open_counter",
        "ticket_types_paused_at_writable",
        "ticket_types_pkey",
        "ticket_types_price_a_number",
        "ticket_types_price_not_negative",
        "ticket_types_read_committed",
        "ticket_types_record_pause",
        "ticket_types_sales_end_after_start",
        "ticket_types_sales_end_writable",
        "ticket_types_sales_start_writable",
        "ticket_types_set_updated_at",
        "ticket_types_with_purchases_kept",
        "ticket_types_with_purchases_stay",
    },
    "events": {
        "events_currency_form",
        "events_end_after_start",
        "events_end_time_writable",
        "events_id_frozen",
        "events_id_positive",
        "events_max_per_user_positive",
        "events_not_as_replica",
        "events_notice_length",
        "events_open_lane",
        "events_owner_id_fkey",
        "events_owner_lives",
        "events_payment_url_form",
        "events_payment_url_length",
        "events_pkey",
        "events_set_updated_at",
        "events_start_time_writable",
        "events_title_length",
        "events_title_trimmed",
    },
    "users": {
        "users_email_form",
        "users_id_frozen",
        "users_id_positive",
        "users_never_truncated",
        "users_password_hashed",
        "users_pkey",
        "users_read_committed",
        "users_subject_key",
        "users_subject_length",
        "users_subject_of_issuer",
        "users_username_form",
        "users_username_key",
        "users_username_one_spelling",
        "users_with_requests_kept",
    },
}

# A foreign key is held by triggers of its own, which can be disabled like any other. NOT NULL is
# left out: only newer versions of PostgreSQL keep it as a constraint with a name.
READ_STANDING = """
WITH tables AS (
    SELECT oid, relname FROM pg_class WHERE relname = ANY(%(tables)s) AND pg_table_is_visible(oid)
)
SELECT relname, tgname FROM tables JOIN pg_trigger ON tgrelid = tables.oid
WHERE NOT tgisinternal
  AND tgenabled IN (CASE right(tgname, 15) WHEN '_not_as_replica' THEN 'R' ELSE 'O' END, 'A')
UNION ALL
SELECT relname, conname FROM tables JOIN pg_constraint c ON conrelid = tables.oid
WHERE contype IN ('c', 'f', 'p', 'u') AND convalidated
  AND NOT EXISTS (SELECT FROM pg_trigger
                  WHERE tgconstraint = c.oid AND tgenabled NOT IN ('O', 'A'))
UNION ALL
SELECT tables.relname, i.relname FROM tables
JOIN pg_index x ON x.indrelid = tables.oid JOIN pg_class i ON i.oid = x.indexrelid
WHERE indisunique AND indisvalid
"""
# Whose sessions fire no trigger and check no foreign key. Other databases may have such a setting,
# and so may who writes nothing here.
READ_REPLICAS = """
SELECT 'this session' WHERE current_setting('session_replication_role') = 'replica'
UNION ALL
SELECT CASE setrole WHEN 0 THEN 'database ' || current_database()
                    ELSE 'role ' || setrole::regrole END
FROM pg_db_role_setting
WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND EXISTS (SELECT FROM unnest(setconfig) setting
              WHERE lower(setting) = 'session_replication_role=replica')
  AND (setrole = 0 OR EXISTS (
      SELECT FROM pg_class WHERE relname = ANY(%(tables)s) AND pg_table_is_visible(oid)
         AND has_any_column_privilege(setrole, oid, 'INSERT, UPDATE')))
"""


def standing_guards(cursor: Cursor) -> dict[str, set[str]]:
    """The names, by table, of what is in place and enabled; others that were added, too."""
    standing: dict[str, set[str]] = {table: set() for table in GUARDS}
    cursor.execute(READ_STANDING, {"tables": list(GUARDS)})
    for table, name in cursor:
        standing[table].add(name)
    return standing


def missing_guards(cursor: Cursor) -> list[str]:
    standing = standing_guards(cursor)
    cursor.execute(READ_REPLICAS, {"tables": list(GUARDS)})
    return [
        *(f"session_replication_role of {of} is replica: no guard fires" for (of,) in cursor),
        *(
            f"{name} of {table} is missing or disabled"
            for table, names in GUARDS.items()
            for name in sorted(names - standing[table])
        ),
    ]
