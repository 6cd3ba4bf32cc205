"""What the console of a sale shows besides its ledger: pauses, refusals at the edge, and audits.

It may run while sales run: the tables are new, and the ticket types are read once under the lock of
their new trigger, which waits for no purchase. Pauses of before it are known where they last.

Revision ID: 0019
"""

from alembic import op

revision = "0019"
down_revision = "0018"

TABLES = """
CREATE TABLE sale_pauses (
    ticket_type_id BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    paused BOOLEAN NOT NULL,
    PRIMARY KEY (ticket_type_id, at),
    FOREIGN KEY(ticket_type_id) REFERENCES ticket_types (id) ON DELETE CASCADE
);
CREATE TABLE edge_refusals (
    event_id BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    step_seconds INTEGER NOT NULL,
    code TEXT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (event_id, at, step_seconds, code),
    FOREIGN KEY(event_id) REFERENCES events (id) ON DELETE CASCADE,
    CONSTRAINT edge_refusals_code_known CHECK (code IN ('all_held', 'not_enough_tickets', 'not_your_event', 'over_user_limit', 'sale_closed', 'sale_not_open', 'sale_paused', 'too_many_expired_holds', 'too_many_requests')),
    CONSTRAINT edge_refusals_count_positive CHECK (count >= 1),
    CONSTRAINT edge_refusals_step_known CHECK (step_seconds IN (2, 3600))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE INDEX edge_refusals_by_time ON edge_refusals (step_seconds, at);
CREATE TABLE audits (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    event_id BIGINT NOT NULL,
    status TEXT DEFAULT 'queued' NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    attempts INTEGER DEFAULT '0' NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE,
    finished_at TIMESTAMP WITH TIME ZONE,
    entries BIGINT,
    seconds DOUBLE PRECISION,
    findings TEXT[] DEFAULT '{}' NOT NULL,
    summary TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(event_id) REFERENCES events (id) ON DELETE CASCADE,
    CONSTRAINT audits_status_known CHECK (status IN ('queued', 'running', 'passed', 'failed', 'error')),
    CONSTRAINT audits_finished CHECK ((status IN ('passed', 'failed', 'error')) = (finished_at IS NOT NULL)),
    CONSTRAINT audits_leased CHECK ((status = 'running') = (lease_until IS NOT NULL)),
    CONSTRAINT audits_findings_bounded CHECK (cardinality(findings) <= 20)
);
CREATE INDEX audits_by_event ON audits (event_id, id);
CREATE UNIQUE INDEX audits_one_for_an_event ON audits (event_id) WHERE status IN ('queued', 'running');
"""  # noqa: E501 - as the database would print it

# Whoever pauses: the catalog, or the operator.
PAUSES = """
CREATE FUNCTION eventify_record_pause() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO sale_pauses (ticket_type_id, at, paused)
    VALUES (NEW.id, coalesce(NEW.paused_at, clock_timestamp()), NEW.paused_at IS NOT NULL)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER ticket_types_record_pause AFTER UPDATE OF paused_at ON ticket_types
    FOR EACH ROW WHEN ((OLD.paused_at IS NULL) <> (NEW.paused_at IS NULL))
    EXECUTE FUNCTION eventify_record_pause();
INSERT INTO sale_pauses (ticket_type_id, at, paused)
SELECT id, paused_at, true FROM ticket_types WHERE paused_at IS NOT NULL;
"""
# Otherwise a service could show it a temporary table of the same name (0009).
IN_THIS_SCHEMA = """
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION eventify_record_pause() SET search_path = %I, pg_temp',
                   current_schema());
END $$
"""


def upgrade() -> None:
    for statements in (TABLES, PAUSES, IN_THIS_SCHEMA):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("pauses and refusals of a sale would be forgotten")
