"""Looks through the rows that were there before 0002 and 0003, so that those hold for all rows.

In a transaction of its own, for it reads whole tables; what it locks keeps nobody from reading and
writing rows. A row that breaks a rule stops it with the rule's name, and changes nothing.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"

CONSTRAINTS = {
    "users": (
        "users_id_positive",
        "users_username_form",
        "users_username_one_spelling",
        "users_email_form",
        "users_password_hashed",
    ),
    "refresh_tokens": (
        "refresh_tokens_expires_after_issue",
        "refresh_tokens_spent_for_successor",
        "refresh_tokens_family_fkey",
    ),
    "events": (
        "events_id_positive",
        "events_title_trimmed",
        "events_start_time_writable",
        "events_end_time_writable",
    ),
    "ticket_types": (
        "ticket_types_id_positive",
        "ticket_types_name_trimmed",
        "ticket_types_price_a_number",
        "ticket_types_max_per_purchase_bounded",
        "ticket_types_sales_start_writable",
        "ticket_types_sales_end_writable",
    ),
    "ticket_inventory": ("ticket_inventory_left_bounded",),
    "ticket_purchases": (
        "ticket_purchases_unit_price_a_number",
        "ticket_purchases_user_limit_positive",
        "ticket_purchases_within_user_limit",
        "ticket_purchases_decision_number_positive",
        "ticket_purchases_reason_true",
    ),
}


def upgrade() -> None:
    for table, constraints in CONSTRAINTS.items():
        # One statement a table, so that each table is read once.
        validations = ", ".join(f"VALIDATE CONSTRAINT {name}" for name in constraints)
        op.execute(f"ALTER TABLE {table} {validations}")


def downgrade() -> None:
    raise NotImplementedError("what was looked through stays so")
