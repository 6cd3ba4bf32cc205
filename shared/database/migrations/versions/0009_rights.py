"""Guards keep working for roles that may not do what the guards do.

Services have roles of their own (`shared/database/rights.py`), which this prepares: two triggers
write or lock for a service what it may not itself, and do so as the owner. All look up tables in
this schema alone: otherwise a service could show a guard a temporary table of the same name.

It may run while sales run: no table is locked. Code of the former version, as the owner, goes on.

Revision ID: 0009
"""

from alembic import op

revision = "0009"
down_revision = "0008"

# `ticket_inventory` writes `inventory_changes`; accepting locks the ticket types.
AS_OWNER = """
ALTER FUNCTION eventify_record_inventory_change() SECURITY DEFINER;
ALTER FUNCTION eventify_check_ticket_types_of_purchases() SECURITY DEFINER
"""
IN_THIS_SCHEMA = r"""
DO $$
DECLARE
    guard regprocedure;
BEGIN
    FOR guard IN SELECT oid FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'eventify\_%'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', guard, current_schema());
    END LOOP;
END $$
"""


def upgrade() -> None:
    op.execute(AS_OWNER)
    op.execute(IN_THIS_SCHEMA)


def downgrade() -> None:
    raise NotImplementedError("a guard is taken away by hand, and with care")
