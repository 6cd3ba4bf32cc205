"""An account whose events were all deleted can be deleted.

What put their tickets on sale, took them off or extended their holds stays, as requests of the
account's id, and kept it. It may run while sales run.

Revision ID: 0024
"""

from alembic import op

revision = "0024"
down_revision = "0023"

# As in 0013, but for those requests: the id stays, and an event with purchases cannot be deleted.
ERASE = """
CREATE OR REPLACE FUNCTION eventify_erase_user(erased bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off AS $$
BEGIN
    PERFORM FROM users WHERE id = erased FOR UPDATE;
    IF EXISTS (SELECT FROM events WHERE owner_id = erased)
        OR EXISTS (SELECT FROM requests
                   WHERE user_id = erased AND kind NOT IN ('issue', 'withdraw', 'extend'))
    THEN
        RETURN false;
    END IF;
    -- Clients choose their idempotency keys.
    DELETE FROM idempotency_keys WHERE user_id = erased;
    UPDATE api_keys SET revoked_at = now() WHERE user_id = erased AND revoked_at IS NULL;
    DELETE FROM webhooks WHERE user_id = erased;
    UPDATE users SET username = NULL, email = NULL, password_hash = NULL, issuer = NULL,
        subject = NULL, erased_at = now()
    WHERE id = erased;
    RETURN true;
END $$;
"""

# Otherwise a service could show it a temporary table of the same name (0009).
IN_THIS_SCHEMA = """
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION eventify_erase_user(bigint) SET search_path = %I, pg_temp',
                   current_schema());
END $$
"""


def upgrade() -> None:
    for statements in (ERASE, IN_THIS_SCHEMA):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("an account that was erased since stays so")
