# ruff: noqa: E501 - the statements stand as the database would print them
"""The first schema: accounts, catalog, inventory, purchases, and the guards that hold them.

Revision ID: 0001
"""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE users (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    username VARCHAR(150) NOT NULL,
    email TEXT,
    password_hash TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX users_username_key ON users (lower(username));
CREATE TABLE events (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    title TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    start_time TIMESTAMP WITH TIME ZONE NOT NULL,
    end_time TIMESTAMP WITH TIME ZONE NOT NULL,
    owner_id BIGINT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT events_title_length CHECK (length(title) BETWEEN 1 AND 200),
    CONSTRAINT events_end_after_start CHECK (end_time > start_time),
    FOREIGN KEY(owner_id) REFERENCES users (id)
);
CREATE INDEX events_by_owner ON events (owner_id);
CREATE INDEX events_by_start_time ON events (start_time);
CREATE TABLE refresh_tokens (
    id UUID NOT NULL,
    family UUID NOT NULL,
    user_id BIGINT NOT NULL,
    issued_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    spent_at TIMESTAMP WITH TIME ZONE,
    successor UUID,
    revoked_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family);
CREATE TABLE ticket_types (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    event_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    price NUMERIC(12, 2) NOT NULL,
    sales_start TIMESTAMP WITH TIME ZONE,
    sales_end TIMESTAMP WITH TIME ZONE,
    max_per_purchase INTEGER DEFAULT '10' NOT NULL,
    max_per_user INTEGER,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT ticket_types_name_length CHECK (length(name) BETWEEN 1 AND 200),
    CONSTRAINT ticket_types_price_not_negative CHECK (price >= 0),
    CONSTRAINT ticket_types_max_per_purchase_positive CHECK (max_per_purchase >= 1),
    CONSTRAINT ticket_types_max_per_user_positive CHECK (max_per_user >= 1),
    CONSTRAINT ticket_types_sales_end_after_start CHECK (sales_end > sales_start),
    FOREIGN KEY(event_id) REFERENCES events (id) ON DELETE CASCADE
);
CREATE INDEX ticket_types_by_event ON ticket_types (event_id);
CREATE TABLE decision_batches (
    ticket_type_id BIGINT NOT NULL,
    first_number BIGINT NOT NULL,
    last_number BIGINT NOT NULL,
    seen pg_snapshot NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (ticket_type_id, first_number),
    CONSTRAINT decision_batches_numbers CHECK (first_number BETWEEN 1 AND last_number),
    FOREIGN KEY(ticket_type_id) REFERENCES ticket_types (id)
);
CREATE TABLE inventory_changes (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    ticket_type_id BIGINT NOT NULL,
    change INTEGER NOT NULL,
    after_decision BIGINT NOT NULL,
    changed_by BIGINT,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(ticket_type_id) REFERENCES ticket_types (id) ON DELETE CASCADE
);
CREATE INDEX inventory_changes_by_ticket_type ON inventory_changes (ticket_type_id, id);
CREATE TABLE ticket_inventory (
    ticket_type_id BIGINT NOT NULL,
    issued INTEGER NOT NULL,
    sold INTEGER DEFAULT '0' NOT NULL,
    decisions BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (ticket_type_id),
    CONSTRAINT ticket_inventory_never_oversold CHECK (sold BETWEEN 0 AND issued),
    CONSTRAINT ticket_inventory_decisions_not_negative CHECK (decisions >= 0),
    FOREIGN KEY(ticket_type_id) REFERENCES ticket_types (id) ON DELETE CASCADE
)
 WITH (fillfactor = 20);
CREATE TABLE ticket_purchases (
    id UUID NOT NULL,
    seq BIGINT GENERATED ALWAYS AS IDENTITY (CACHE 1),
    user_id BIGINT NOT NULL,
    ticket_type_id BIGINT NOT NULL,
    quantity INTEGER NOT NULL,
    unit_price NUMERIC(12, 2) NOT NULL,
    user_limit INTEGER,
    idempotency_key TEXT,
    fingerprint BYTEA,
    request_id TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    accepted_xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    status TEXT DEFAULT 'queued' NOT NULL,
    reason TEXT,
    decided_at TIMESTAMP WITH TIME ZONE,
    decision_number BIGINT,
    left_after INTEGER,
    PRIMARY KEY (id),
    CONSTRAINT ticket_purchases_quantity_positive CHECK (quantity >= 1),
    CONSTRAINT ticket_purchases_unit_price_not_negative CHECK (unit_price >= 0),
    CONSTRAINT ticket_purchases_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    CONSTRAINT ticket_purchases_key_has_fingerprint CHECK ((idempotency_key IS NULL) = (fingerprint IS NULL)),
    CONSTRAINT ticket_purchases_decided_whole CHECK (CASE status WHEN 'queued' THEN num_nulls(reason, decided_at, decision_number, left_after) = 4 WHEN 'confirmed' THEN reason IS NULL AND num_nulls(decided_at, decision_number, left_after) = 0 WHEN 'rejected' THEN num_nulls(reason, decided_at, decision_number, left_after) = 0 ELSE false END),
    CONSTRAINT ticket_purchases_left_not_negative CHECK (left_after >= 0),
    FOREIGN KEY(user_id) REFERENCES users (id),
    FOREIGN KEY(ticket_type_id) REFERENCES ticket_types (id)
);
CREATE INDEX ticket_purchases_by_user ON ticket_purchases (user_id, seq);
CREATE UNIQUE INDEX ticket_purchases_decisions ON ticket_purchases (ticket_type_id, decision_number) WHERE decision_number IS NOT NULL;
CREATE UNIQUE INDEX ticket_purchases_idempotency ON ticket_purchases (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX ticket_purchases_queue ON ticket_purchases (ticket_type_id, seq) WHERE status = 'queued';
"""

# Each guard raises with the name of the rule it holds, as a named constraint would.
REFUSE = """
CREATE FUNCTION eventify_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[1] USING ERRCODE = 'check_violation', CONSTRAINT = TG_ARGV[0],
        TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
END $$
"""

PURCHASE_GUARDS = """
CREATE TRIGGER ticket_purchases_born_queued BEFORE INSERT ON ticket_purchases
    FOR EACH ROW WHEN (NEW.status <> 'queued')
    EXECUTE FUNCTION eventify_refuse('ticket_purchases_born_queued', 'a purchase begins as queued');
CREATE TRIGGER ticket_purchases_immutable BEFORE UPDATE ON ticket_purchases
    FOR EACH ROW WHEN (OLD.status <> 'queued')
    EXECUTE FUNCTION eventify_refuse('ticket_purchases_immutable', 'a decided purchase never changes');
CREATE TRIGGER ticket_purchases_terms_frozen BEFORE UPDATE ON ticket_purchases
    FOR EACH ROW WHEN (
        (OLD.id, OLD.seq, OLD.user_id, OLD.ticket_type_id, OLD.quantity, OLD.unit_price,
         OLD.created_at)
        <> (NEW.id, NEW.seq, NEW.user_id, NEW.ticket_type_id, NEW.quantity, NEW.unit_price,
            NEW.created_at)
        OR OLD.accepted_xid <> NEW.accepted_xid
        OR OLD.user_limit IS DISTINCT FROM NEW.user_limit
        OR OLD.idempotency_key IS DISTINCT FROM NEW.idempotency_key
        OR OLD.fingerprint IS DISTINCT FROM NEW.fingerprint)
    EXECUTE FUNCTION eventify_refuse(
        'ticket_purchases_terms_frozen', 'what was accepted never changes');
CREATE TRIGGER ticket_purchases_never_deleted BEFORE DELETE ON ticket_purchases
    FOR EACH ROW EXECUTE FUNCTION eventify_refuse(
        'ticket_purchases_never_deleted', 'a purchase is never deleted');
CREATE TRIGGER ticket_purchases_never_truncated BEFORE TRUNCATE ON ticket_purchases
    EXECUTE FUNCTION eventify_refuse(
        'ticket_purchases_never_truncated', 'a purchase is never deleted');
"""

BATCH_GUARDS = """
CREATE TRIGGER decision_batches_immutable BEFORE UPDATE OR DELETE ON decision_batches
    FOR EACH ROW EXECUTE FUNCTION eventify_refuse(
        'decision_batches_immutable', 'the record of a decision never changes');
CREATE TRIGGER decision_batches_never_truncated BEFORE TRUNCATE ON decision_batches
    EXECUTE FUNCTION eventify_refuse(
        'decision_batches_never_truncated', 'the record of a decision never changes');
"""

INVENTORY_GUARDS = """
CREATE FUNCTION eventify_record_inventory_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO inventory_changes (ticket_type_id, change, after_decision, changed_by)
    VALUES (
        NEW.ticket_type_id,
        NEW.issued - CASE TG_OP WHEN 'INSERT' THEN 0 ELSE OLD.issued END,
        NEW.decisions,
        nullif(current_setting('eventify.user_id', true), '')::bigint);
    RETURN NULL;
END $$;
CREATE TRIGGER ticket_inventory_born_unsold BEFORE INSERT ON ticket_inventory
    FOR EACH ROW WHEN (NEW.sold <> 0 OR NEW.decisions <> 0)
    EXECUTE FUNCTION eventify_refuse('ticket_inventory_born_unsold', 'nothing is sold at first');
CREATE TRIGGER ticket_inventory_issue_recorded AFTER INSERT ON ticket_inventory
    FOR EACH ROW EXECUTE FUNCTION eventify_record_inventory_change();
CREATE TRIGGER ticket_inventory_change_recorded AFTER UPDATE OF issued ON ticket_inventory
    FOR EACH ROW WHEN (NEW.issued <> OLD.issued)
    EXECUTE FUNCTION eventify_record_inventory_change();
CREATE TRIGGER ticket_inventory_only_grows BEFORE UPDATE ON ticket_inventory
    FOR EACH ROW WHEN (NEW.sold < OLD.sold OR NEW.decisions < OLD.decisions
                       OR NEW.ticket_type_id <> OLD.ticket_type_id)
    EXECUTE FUNCTION eventify_refuse(
        'ticket_inventory_only_grows', 'sold and decisions never go back');

CREATE FUNCTION eventify_keep_inventory_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM ticket_types WHERE id = OLD.ticket_type_id) THEN
        RAISE EXCEPTION 'the record of issued tickets never changes'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'inventory_changes_immutable';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER inventory_changes_immutable BEFORE UPDATE ON inventory_changes
    FOR EACH ROW EXECUTE FUNCTION eventify_refuse(
        'inventory_changes_immutable', 'the record of issued tickets never changes');
CREATE TRIGGER inventory_changes_kept BEFORE DELETE ON inventory_changes
    FOR EACH ROW EXECUTE FUNCTION eventify_keep_inventory_change();
CREATE TRIGGER inventory_changes_never_truncated BEFORE TRUNCATE ON inventory_changes
    EXECUTE FUNCTION eventify_refuse(
        'inventory_changes_immutable', 'the record of issued tickets never changes');
"""


def upgrade() -> None:
    for statements in (TABLES, REFUSE, PURCHASE_GUARDS, BATCH_GUARDS, INVENTORY_GUARDS):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("there is nothing before the first schema")
