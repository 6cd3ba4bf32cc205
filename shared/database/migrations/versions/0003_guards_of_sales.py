# ruff: noqa: E501 - the statements stand as the database would print them
"""More rules that the database itself holds: those of the catalog, the counter and its moves.

It may run while sales run, for the same reasons as 0002.

Revision ID: 0003
"""

from alembic import op

revision = "0003"
down_revision = "0002"

# In the order in which accepting and deciding come to them, so that nobody waits in a circle.
LOCKS = """
LOCK TABLE ticket_inventory, ticket_types, ticket_purchases, decision_batches, inventory_changes
"""

CATALOG = r"""
ALTER TABLE events
    ADD CONSTRAINT events_id_positive CHECK (id >= 1) NOT VALID,
    ADD CONSTRAINT events_title_trimmed CHECK (title COLLATE "C" !~ '^\s|\s$') NOT VALID,
    ADD CONSTRAINT events_start_time_writable CHECK (start_time >= '0001-01-01 00:00:00+00' AND start_time < '10000-01-01 00:00:00+00') NOT VALID,
    ADD CONSTRAINT events_end_time_writable CHECK (end_time >= '0001-01-01 00:00:00+00' AND end_time < '10000-01-01 00:00:00+00') NOT VALID;
ALTER TABLE ticket_types
    ADD CONSTRAINT ticket_types_id_positive CHECK (id >= 1) NOT VALID,
    ADD CONSTRAINT ticket_types_name_trimmed CHECK (name COLLATE "C" !~ '^\s|\s$') NOT VALID,
    ADD CONSTRAINT ticket_types_price_a_number CHECK (price <> 'NaN') NOT VALID,
    ADD CONSTRAINT ticket_types_max_per_purchase_bounded CHECK (max_per_purchase <= 1000000) NOT VALID,
    ADD CONSTRAINT ticket_types_sales_start_writable CHECK (sales_start >= '0001-01-01 00:00:00+00' AND sales_start < '10000-01-01 00:00:00+00') NOT VALID,
    ADD CONSTRAINT ticket_types_sales_end_writable CHECK (sales_end >= '0001-01-01 00:00:00+00' AND sales_end < '10000-01-01 00:00:00+00') NOT VALID;
"""

# `decided_whole` says that a reason stands where there must be one; `reason_true`, that it is a
# known one and that the row's own figures bear it out.
SALES = """
ALTER TABLE ticket_inventory
    ADD CONSTRAINT ticket_inventory_left_bounded CHECK (issued - sold <= 1000000000) NOT VALID;
ALTER TABLE ticket_purchases
    ADD CONSTRAINT ticket_purchases_unit_price_a_number CHECK (unit_price <> 'NaN') NOT VALID,
    ADD CONSTRAINT ticket_purchases_user_limit_positive CHECK (user_limit >= 1) NOT VALID,
    ADD CONSTRAINT ticket_purchases_within_user_limit CHECK (status <> 'confirmed' OR quantity <= user_limit) NOT VALID,
    ADD CONSTRAINT ticket_purchases_decision_number_positive CHECK (decision_number >= 1) NOT VALID,
    ADD CONSTRAINT ticket_purchases_reason_true CHECK (CASE reason WHEN 'not_enough_tickets' THEN quantity > left_after WHEN 'over_user_limit' THEN quantity <= left_after AND user_limit IS NOT NULL ELSE reason IS NULL END) NOT VALID;
"""

# Nothing is decided of a ticket type without a counter, so none may stand without one.
TICKET_TYPE_GUARDS = """
CREATE FUNCTION eventify_check_ticket_type_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM ticket_types WHERE id = NEW.id)
       AND NOT EXISTS (SELECT FROM ticket_inventory WHERE ticket_type_id = NEW.id) THEN
        RAISE EXCEPTION 'a ticket type has a counter' USING ERRCODE = 'check_violation',
            CONSTRAINT = 'ticket_types_counted', TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ticket_types_counted AFTER INSERT ON ticket_types
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION eventify_check_ticket_type_counted();

CREATE FUNCTION eventify_keep_ticket_type_in_its_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A purchase that is just being accepted holds a lock on this row, and is waited for.
    PERFORM FROM ticket_types WHERE id = OLD.id FOR UPDATE;
    -- Asked in two parts, for each of which there is an index.
    IF EXISTS (SELECT FROM ticket_purchases WHERE ticket_type_id = OLD.id AND status = 'queued')
       OR EXISTS (SELECT FROM ticket_purchases
                  WHERE ticket_type_id = OLD.id AND decision_number IS NOT NULL) THEN
        RAISE EXCEPTION 'a ticket type with purchases stays with its event'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ticket_types_stays_with_its_event',
                TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ticket_types_stays_with_its_event BEFORE UPDATE OF event_id ON ticket_types
    FOR EACH ROW WHEN (OLD.event_id <> NEW.event_id)
    EXECUTE FUNCTION eventify_keep_ticket_type_in_its_event();
"""

# What of a ticket type is deleted with it, and never alone. It takes the place of the function
# that did the same for one table.
KEPT_WITH_TICKET_TYPE = """
CREATE FUNCTION eventify_keep_with_ticket_type() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM ticket_types WHERE id = OLD.ticket_type_id) THEN
        RAISE EXCEPTION '%', TG_ARGV[1] USING ERRCODE = 'check_violation',
            CONSTRAINT = TG_ARGV[0], TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
    END IF;
    RETURN OLD;
END $$;
DROP TRIGGER inventory_changes_kept ON inventory_changes;
DROP FUNCTION eventify_keep_inventory_change();
CREATE TRIGGER inventory_changes_kept BEFORE DELETE ON inventory_changes
    FOR EACH ROW EXECUTE FUNCTION eventify_keep_with_ticket_type(
        'inventory_changes_kept', 'the record of issued tickets never changes');
CREATE TRIGGER ticket_inventory_kept BEFORE DELETE ON ticket_inventory
    FOR EACH ROW EXECUTE FUNCTION eventify_keep_with_ticket_type(
        'ticket_inventory_kept', 'a counter stands as long as its ticket type');
CREATE TRIGGER ticket_inventory_never_truncated BEFORE TRUNCATE ON ticket_inventory
    EXECUTE FUNCTION eventify_refuse(
        'ticket_inventory_never_truncated', 'a counter stands as long as its ticket type');
CREATE OR REPLACE TRIGGER inventory_changes_never_truncated BEFORE TRUNCATE ON inventory_changes
    EXECUTE FUNCTION eventify_refuse(
        'inventory_changes_never_truncated', 'the record of issued tickets never changes');
CREATE TRIGGER inventory_changes_by_the_counter BEFORE INSERT ON inventory_changes
    FOR EACH ROW WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION eventify_refuse(
        'inventory_changes_by_the_counter', 'only a change of the counter is recorded');
"""

# The counter moves once a batch: here the whole batch is held against it, at little cost. The plan
# may never be a scan of the whole table, whatever was known of the table when it was made.
COUNTER_GUARDS = """
CREATE FUNCTION eventify_check_counter_moves() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off AS $$
BEGIN
    IF (NEW.decisions - OLD.decisions, NEW.sold - OLD.sold) <> (
        SELECT count(*), coalesce(sum(quantity) FILTER (WHERE status = 'confirmed'), 0)
        FROM ticket_purchases
        WHERE ticket_type_id = NEW.ticket_type_id
          AND decision_number > OLD.decisions AND decision_number <= NEW.decisions
    ) OR NOT EXISTS (
        SELECT FROM decision_batches
        WHERE ticket_type_id = NEW.ticket_type_id
          AND first_number = OLD.decisions + 1 AND last_number = NEW.decisions
    ) THEN
        RAISE EXCEPTION 'the counter moves by what was decided, and by nothing else'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ticket_inventory_moves_by_decisions',
                TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ticket_inventory_moves_by_decisions AFTER UPDATE ON ticket_inventory
    FOR EACH ROW WHEN (NEW.decisions <> OLD.decisions OR NEW.sold <> OLD.sold)
    EXECUTE FUNCTION eventify_check_counter_moves();

CREATE FUNCTION eventify_check_batch_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.last_number > (
        SELECT decisions FROM ticket_inventory WHERE ticket_type_id = NEW.ticket_type_id
    ) THEN
        RAISE EXCEPTION 'a batch is recorded with the decisions that it made'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'decision_batches_counted',
                TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER decision_batches_counted AFTER INSERT ON decision_batches
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION eventify_check_batch_counted();
"""

PURCHASE_GUARDS = """
CREATE TRIGGER ticket_purchases_born_now BEFORE INSERT ON ticket_purchases
    FOR EACH ROW WHEN (NEW.accepted_xid <> pg_current_xact_id() OR NEW.created_at <> now())
    EXECUTE FUNCTION eventify_refuse(
        'ticket_purchases_born_now', 'a purchase is accepted at the moment that it says');
CREATE TRIGGER ticket_purchases_decided_after_created BEFORE UPDATE ON ticket_purchases
    FOR EACH ROW WHEN (NEW.decided_at < NEW.created_at)
    EXECUTE FUNCTION eventify_refuse(
        'ticket_purchases_decided_after_created', 'nothing is decided before it was accepted');
CREATE OR REPLACE TRIGGER ticket_purchases_terms_frozen BEFORE UPDATE ON ticket_purchases
    FOR EACH ROW WHEN (
        (OLD.id, OLD.seq, OLD.user_id, OLD.ticket_type_id, OLD.quantity, OLD.unit_price,
         OLD.created_at)
        <> (NEW.id, NEW.seq, NEW.user_id, NEW.ticket_type_id, NEW.quantity, NEW.unit_price,
            NEW.created_at)
        OR OLD.accepted_xid <> NEW.accepted_xid
        OR OLD.user_limit IS DISTINCT FROM NEW.user_limit
        OR OLD.idempotency_key IS DISTINCT FROM NEW.idempotency_key
        OR OLD.fingerprint IS DISTINCT FROM NEW.fingerprint
        OR OLD.request_id IS DISTINCT FROM NEW.request_id)
    EXECUTE FUNCTION eventify_refuse(
        'ticket_purchases_terms_frozen', 'what was accepted never changes');
"""


def upgrade() -> None:
    for statements in (
        LOCKS,
        CATALOG,
        SALES,
        TICKET_TYPE_GUARDS,
        KEPT_WITH_TICKET_TYPE,
        COUNTER_GUARDS,
        PURCHASE_GUARDS,
    ):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("a guard is taken away by hand, and with care")
