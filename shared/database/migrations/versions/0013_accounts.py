"""Accounts: locked, erased, and the moment before which their access tokens are void.

It may run while sales run: it locks `users` and `refresh_tokens` for a moment, and reads a day's
refresh tokens.

Revision ID: 0013
"""

from alembic import op

revision = "0013"
down_revision = "0012"

TABLES = """
ALTER TABLE users
    ADD COLUMN locked_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN erased_at TIMESTAMP WITH TIME ZONE,
    ALTER COLUMN username DROP NOT NULL;
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id);
CREATE TABLE token_cutoffs (
    user_id BIGINT NOT NULL,
    valid_from BIGINT,
    changed_xid XID8 DEFAULT pg_current_xact_id() NOT NULL,
    PRIMARY KEY (user_id)
);
CREATE INDEX token_cutoffs_by_change ON token_cutoffs (changed_xid);
"""

# So every process sees the change, whoever makes it.
MARK = """
CREATE FUNCTION eventify_mark_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id();
    RETURN NEW;
END $$;
CREATE TRIGGER token_cutoffs_marked BEFORE INSERT OR UPDATE ON token_cutoffs
    FOR EACH ROW EXECUTE FUNCTION eventify_mark_change();
"""

# The row stays, as a number without a person: ids are never reused. Its lock waits for events and
# keys that are being made, and lets none begin. Nobody locks the user of a purchase: one that is
# accepted at the very moment may remain. The gateway may not change a username otherwise.
ERASE = """
CREATE FUNCTION eventify_erase_user(erased bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off AS $$
BEGIN
    PERFORM FROM users WHERE id = erased FOR UPDATE;
    IF EXISTS (SELECT FROM events WHERE owner_id = erased)
        OR EXISTS (SELECT FROM requests WHERE user_id = erased)
    THEN
        RETURN false;
    END IF;
    -- Tables of 0014. Clients choose their idempotency keys.
    DELETE FROM idempotency_keys WHERE user_id = erased;
    UPDATE api_keys SET revoked_at = now() WHERE user_id = erased AND revoked_at IS NULL;
    -- A table of 0017.
    DELETE FROM webhooks WHERE user_id = erased;
    -- Its issuer and subject are columns of 0015.
    UPDATE users SET username = NULL, email = NULL, password_hash = NULL, issuer = NULL,
        subject = NULL, erased_at = now()
    WHERE id = erased;
    RETURN true;
END $$;
"""

OWNER_LIVES = """
CREATE FUNCTION eventify_owner_lives() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off AS $$
BEGIN
    PERFORM FROM users WHERE id = NEW.owner_id AND erased_at IS NULL FOR KEY SHARE;
    IF NOT FOUND THEN
        PERFORM eventify_fail('foreign_key_violation', 'events_owner_id_fkey',
            'an event is of an account that there is');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER events_owner_lives BEFORE INSERT OR UPDATE OF owner_id ON events
    FOR EACH ROW EXECUTE FUNCTION eventify_owner_lives();
"""

# Otherwise a service could show it a temporary table of the same name (0009).
IN_THIS_SCHEMA = """
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION eventify_erase_user(bigint) SET search_path = %I, pg_temp',
                   current_schema());
    EXECUTE format('ALTER FUNCTION eventify_owner_lives() SET search_path = %I, pg_temp',
                   current_schema());
    EXECUTE format('ALTER FUNCTION eventify_mark_change() SET search_path = %I, pg_temp',
                   current_schema());
END $$
"""


def upgrade() -> None:
    for statements in (TABLES, MARK, ERASE, OWNER_LIVES, IN_THIS_SCHEMA):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("an erased account has no name to go back to")
