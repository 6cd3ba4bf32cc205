"""Accounts: locked, erased, and the moment before which their access tokens are void.

It may run while sales run: it locks `users` and `refresh_tokens` for a moment, and reads a day's
refresh tokens.

Revision ID: 0013
"""

from alembic import op

revision = "0013"
down_revision = "0012"

TABLES = """
ALTER TABLE users ADD COLUMN locked_at TIMESTAMP WITH TIME ZONE, ALTER COLUMN username DROP NOT NULL;
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id);
CREATE TABLE token_cutoffs (
    user_id BIGINT NOT NULL,
    valid_from BIGINT,
    PRIMARY KEY (user_id)
);
CREATE INDEX token_cutoffs_by_time ON token_cutoffs (valid_from);
"""  # noqa: E501

# The row stays, as a number without a person: ids are never reused, and a purchase that is being
# accepted finds its user. The gateway may not change a username otherwise.
ERASE = """
CREATE FUNCTION eventify_erase_user(erased bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM events WHERE owner_id = erased)
        OR EXISTS (SELECT FROM requests WHERE user_id = erased)
    THEN
        RETURN false;
    END IF;
    -- A table of 0014.
    UPDATE api_keys SET revoked_at = now() WHERE user_id = erased AND revoked_at IS NULL;
    -- Its issuer and subject are columns of 0015.
    UPDATE users SET username = NULL, email = NULL, password_hash = NULL, issuer = NULL,
        subject = NULL
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
    for statements in (TABLES, ERASE, IN_THIS_SCHEMA):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("an erased account has no name to go back to")
