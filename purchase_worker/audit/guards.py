"""The guards (triggers and constraints) of a sale: which there must be, which are in place."""

from typing import Final

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, lower case there

# By table. A test compares this list with what the migrations make.
GUARDS: Final = {
    "ticket_purchases": {
        "ticket_purchases_pkey",
        "ticket_purchases_user_id_fkey",
        "ticket_purchases_ticket_type_id_fkey",
        "ticket_purchases_quantity_positive",
        "ticket_purchases_unit_price_not_negative",
        "ticket_purchases_key_length",
        "ticket_purchases_key_has_fingerprint",
        "ticket_purchases_decided_whole",
        "ticket_purchases_left_not_negative",
        "ticket_purchases_unit_price_a_number",
        "ticket_purchases_user_limit_positive",
        "ticket_purchases_within_user_limit",
        "ticket_purchases_decision_number_positive",
        "ticket_purchases_reason_true",
        "ticket_purchases_decisions",
        "ticket_purchases_idempotency",
        "ticket_purchases_born_queued",
        "ticket_purchases_born_now",
        "ticket_purchases_read_committed",
        "ticket_purchases_immutable",
        "ticket_purchases_terms_frozen",
        "ticket_purchases_decided_after_created",
        "ticket_purchases_never_deleted",
        "ticket_purchases_never_truncated",
    },
    "decision_batches": {
        "decision_batches_pkey",
        "decision_batches_ticket_type_id_fkey",
        "decision_batches_numbers",
        "decision_batches_counted",
        "decision_batches_immutable",
        "decision_batches_never_truncated",
    },
    "ticket_inventory": {
        "ticket_inventory_pkey",
        "ticket_inventory_ticket_type_id_fkey",
        "ticket_inventory_never_oversold",
        "ticket_inventory_decisions_not_negative",
        "ticket_inventory_left_bounded",
        "ticket_inventory_born_unsold",
        "ticket_inventory_issue_recorded",
        "ticket_inventory_change_recorded",
        "ticket_inventory_only_grows",
        "ticket_inventory_moves_by_decisions",
        "ticket_inventory_kept",
        "ticket_inventory_never_truncated",
    },
    "inventory_changes": {
        "inventory_changes_pkey",
        "inventory_changes_ticket_type_id_fkey",
        "inventory_changes_by_the_counter",
        "inventory_changes_immutable",
        "inventory_changes_kept",
        "inventory_changes_never_truncated",
    },
    "ticket_types": {
        "ticket_types_pkey",
        "ticket_types_event_id_fkey",
        "ticket_types_id_positive",
        "ticket_types_name_length",
        "ticket_types_name_trimmed",
        "ticket_types_price_not_negative",
        "ticket_types_price_a_number",
        "ticket_types_max_per_purchase_positive",
        "ticket_types_max_per_purchase_bounded",
        "ticket_types_max_per_user_positive",
        "ticket_types_sales_start_writable",
        "ticket_types_sales_end_writable",
        "ticket_types_sales_end_after_start",
        "ticket_types_paused_at_writable",
        "ticket_types_counted",
        "ticket_types_stays_with_its_event",
        "ticket_types_id_frozen",
        "ticket_types_never_truncated",
        "ticket_types_read_committed",
        "ticket_purchases_ticket_type_id_fkey",
    },
    "users": {
        "users_pkey",
        "users_id_positive",
        "users_username_key",
        "users_username_form",
        "users_username_one_spelling",
        "users_email_form",
        "users_password_hashed",
        "users_id_frozen",
        "users_never_truncated",
        "users_read_committed",
        "ticket_purchases_user_id_fkey",
    },
}

# A foreign key is held by triggers of its own, which can be disabled like any other. NOT NULL is
# left out: only newer versions of PostgreSQL keep it as a constraint with a name.
READ_STANDING = """
WITH tables AS (
    SELECT oid, relname FROM pg_class WHERE relname = ANY(%(tables)s) AND pg_table_is_visible(oid)
)
SELECT relname, tgname FROM tables JOIN pg_trigger ON tgrelid = tables.oid
WHERE NOT tgisinternal AND tgenabled IN ('O', 'A')
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


def standing_guards(cursor: Cursor) -> dict[str, set[str]]:
    """The names, by table, of what is in place and enabled; others that were added, too."""
    standing: dict[str, set[str]] = {table: set() for table in GUARDS}
    cursor.execute(READ_STANDING, {"tables": list(GUARDS)})
    for table, name in cursor:
        standing[table].add(name)
    return standing


def missing_guards(cursor: Cursor) -> list[str]:
    standing = standing_guards(cursor)
    return [
        f"{name} of {table} is missing or disabled"
        for table, names in GUARDS.items()
        for name in sorted(names - standing[table])
    ]
