"""Nothing is written by a service whose session is a replica's.

`session_replication_role = replica`, set for the server or the database and forgotten after a bulk
load, fires no trigger: purchases were accepted and in no queue, and what was decided moved neither
lanes nor counters, so that the event stood still for good. These triggers fire only then. A
service gets an error as from a database that is read-only; bulk loads and subscriptions, which are
no services of ours, go on. It may run while sales run.

Revision ID: 0034
"""

from alembic import op

revision = "0034"
down_revision = "0033"

# Whose triggers do more than to refuse: without them what is written lacks its other half.
TABLES = ("requests", "ledger", "events", "ticket_types", "api_keys", "token_cutoffs")

REFUSE = """
CREATE FUNCTION eventify_refuse_as_replica() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('application_name') IN (
        'eventify-gateway', 'eventify-catalog', 'eventify-worker', 'eventify-sweeper',
        'eventify-operator')
    THEN
        RAISE EXCEPTION 'session_replication_role is replica, so that no trigger fires'
            USING ERRCODE = 'read_only_sql_transaction',
                  HINT = 'Set it in the session of a bulk load alone.';
    END IF;
    RETURN NULL;
END $$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION eventify_refuse_as_replica() SET search_path = %I, pg_temp',
                   current_schema());
END $$
"""
TRIGGER = """
CREATE TRIGGER {table}_not_as_replica BEFORE INSERT OR UPDATE OR DELETE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_refuse_as_replica();
ALTER TABLE {table} ENABLE REPLICA TRIGGER {table}_not_as_replica
"""


def upgrade() -> None:
    op.execute(REFUSE)
    for table in TABLES:
        op.execute(TRIGGER.format(table=table))


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TRIGGER {table}_not_as_replica ON {table}")
    op.execute("DROP FUNCTION eventify_refuse_as_replica()")
