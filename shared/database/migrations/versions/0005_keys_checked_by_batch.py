"""A purchase's user and ticket type are checked once a batch; it was two foreign keys, row by row.

It may run while sales run: its locks are held for as long as this one transaction takes, which
reads no table. What was there before, the foreign keys have held until they go.

Revision ID: 0005
"""

from alembic import op

revision = "0005"
down_revision = "0004"

# In the order in which accepting comes to them, so that nobody waits in a circle.
LOCKS = """
LOCK TABLE users, ticket_types, ticket_purchases
"""

# A rule stands under one name on both its tables, as a foreign key's own triggers do, and is
# broken with a foreign key's error. Each row of `fresh` looks up what belongs to it (OFFSET 0), and
# no plan reads a whole table, whatever was known of the table when it was made. The ticket types
# are locked in one order, and users not at all: see below.
BATCH_GUARDS = """
ALTER TABLE ticket_purchases
    DROP CONSTRAINT ticket_purchases_user_id_fkey,
    DROP CONSTRAINT ticket_purchases_ticket_type_id_fkey;

CREATE FUNCTION eventify_check_ticket_types_of_purchases() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
    wanted bigint;
BEGIN
    FOR wanted IN SELECT DISTINCT ticket_type_id FROM fresh ORDER BY ticket_type_id LOOP
        -- Whoever is deleting it, or moving it to another event, is waited for.
        PERFORM FROM ticket_types WHERE id = wanted FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'a purchase is of a ticket type that there is'
                USING ERRCODE = 'foreign_key_violation', CONSTRAINT = TG_NAME,
                    TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER ticket_purchases_ticket_type_id_fkey AFTER INSERT ON ticket_purchases
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_check_ticket_types_of_purchases();

CREATE FUNCTION eventify_check_users_of_purchases() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM fresh
               WHERE NOT EXISTS (SELECT FROM users WHERE id = fresh.user_id OFFSET 0)) THEN
        RAISE EXCEPTION 'a purchase is of a user that there is'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = TG_NAME,
                TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ticket_purchases_user_id_fkey AFTER INSERT ON ticket_purchases
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_check_users_of_purchases();
"""

# It takes the place of the function that held a ticket type in its event.
TICKET_TYPE_GUARDS = """
DROP TRIGGER ticket_types_stays_with_its_event ON ticket_types;
DROP FUNCTION eventify_keep_ticket_type_in_its_event();
CREATE FUNCTION eventify_keep_ticket_type_with_purchases() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off AS $$
BEGIN
    -- A purchase that is just being accepted holds a lock on this row, and is waited for.
    PERFORM FROM ticket_types WHERE id = OLD.id FOR UPDATE;
    -- Asked in two parts, for each of which there is an index.
    IF EXISTS (SELECT FROM ticket_purchases WHERE ticket_type_id = OLD.id AND status = 'queued')
       OR EXISTS (SELECT FROM ticket_purchases
                  WHERE ticket_type_id = OLD.id AND decision_number IS NOT NULL) THEN
        RAISE EXCEPTION '%', TG_ARGV[1] USING ERRCODE = TG_ARGV[0], CONSTRAINT = TG_NAME,
            TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER ticket_types_stays_with_its_event BEFORE UPDATE OF event_id ON ticket_types
    FOR EACH ROW WHEN (OLD.event_id <> NEW.event_id)
    EXECUTE FUNCTION eventify_keep_ticket_type_with_purchases(
        'check_violation', 'a ticket type with purchases stays with its event');
CREATE TRIGGER ticket_purchases_ticket_type_id_fkey BEFORE DELETE ON ticket_types
    FOR EACH ROW EXECUTE FUNCTION eventify_keep_ticket_type_with_purchases(
        'foreign_key_violation', 'a ticket type with purchases is not deleted');
CREATE TRIGGER ticket_types_never_truncated BEFORE TRUNCATE ON ticket_types
    EXECUTE FUNCTION eventify_refuse(
        'ticket_types_never_truncated', 'a ticket type with purchases is not deleted');
CREATE TRIGGER ticket_types_id_frozen BEFORE UPDATE ON ticket_types
    FOR EACH ROW WHEN (OLD.id <> NEW.id)
    EXECUTE FUNCTION eventify_refuse('ticket_types_id_frozen', 'an id never changes');
"""

# A purchase locks no user. Instead, the deletion of a user waits for the purchases under way and
# holds new ones up, and all decisions, until its transaction ends: a rare act of the operator's, to
# be committed at once. The limit is there because everyone queues behind it while it waits itself,
# which a VACUUM can make last; after a second PostgreSQL ends one that it began of its own.
USER_GUARDS = """
CREATE FUNCTION eventify_keep_user_with_purchases() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET lock_timeout = '2s' AS $$
BEGIN
    LOCK TABLE ticket_purchases IN SHARE MODE;
    IF EXISTS (SELECT FROM ticket_purchases WHERE user_id = OLD.id) THEN
        RAISE EXCEPTION 'a user with purchases is not deleted'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = TG_NAME,
                TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER ticket_purchases_user_id_fkey BEFORE DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION eventify_keep_user_with_purchases();
CREATE TRIGGER users_never_truncated BEFORE TRUNCATE ON users
    EXECUTE FUNCTION eventify_refuse(
        'users_never_truncated', 'a user with purchases is not deleted');
CREATE TRIGGER users_id_frozen BEFORE UPDATE ON users
    FOR EACH ROW WHEN (OLD.id <> NEW.id)
    EXECUTE FUNCTION eventify_refuse('users_id_frozen', 'an id never changes');
"""

# A foreign key looks past its transaction's snapshot; a function cannot. So what these guards read
# after they waited has to be the latest.
ISOLATION_GUARDS = """
CREATE TRIGGER ticket_purchases_read_committed BEFORE INSERT ON ticket_purchases
    FOR EACH STATEMENT
    WHEN (current_setting('transaction_isolation') IN ('repeatable read', 'serializable'))
    EXECUTE FUNCTION eventify_refuse(
        'ticket_purchases_read_committed', 'purchases are accepted under READ COMMITTED');
CREATE TRIGGER ticket_types_read_committed BEFORE DELETE OR UPDATE OF event_id ON ticket_types
    FOR EACH STATEMENT
    WHEN (current_setting('transaction_isolation') IN ('repeatable read', 'serializable'))
    EXECUTE FUNCTION eventify_refuse(
        'ticket_types_read_committed', 'ticket types are deleted under READ COMMITTED');
CREATE TRIGGER users_read_committed BEFORE DELETE ON users
    FOR EACH STATEMENT
    WHEN (current_setting('transaction_isolation') IN ('repeatable read', 'serializable'))
    EXECUTE FUNCTION eventify_refuse(
        'users_read_committed', 'users are deleted under READ COMMITTED');
"""


def upgrade() -> None:
    for statements in (LOCKS, BATCH_GUARDS, TICKET_TYPE_GUARDS, USER_GUARDS, ISOLATION_GUARDS):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("a guard is taken away by hand, and with care")
