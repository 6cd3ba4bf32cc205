"""API keys, and the idempotency keys of requests that are no commands of a lane.

Each process reads the API keys that have changed, by the transaction that changed them. It may run
while sales run: the tables are new.

Revision ID: 0014
"""

from alembic import op

revision = "0014"
down_revision = "0013"

TABLE = """
CREATE TABLE api_keys (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    user_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    scopes TEXT[] NOT NULL,
    hash BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    last_used_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    changed_xid XID8 DEFAULT pg_current_xact_id() NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(user_id) REFERENCES users (id),
    CONSTRAINT api_keys_name_length CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT api_keys_scopes_known CHECK (scopes <@ ARRAY['read', 'purchase', 'payments', 'manage'] AND cardinality(scopes) >= 1),
    CONSTRAINT api_keys_hashed CHECK (octet_length(hash) = 32),
    CONSTRAINT api_keys_expires_after_creation CHECK (expires_at > created_at)
);
CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash);
CREATE INDEX api_keys_by_change ON api_keys (changed_xid);
CREATE INDEX api_keys_by_user ON api_keys (user_id, id) WHERE revoked_at IS NULL;
"""  # noqa: E501 - as the database would print it

# A row that was deleted would be seen to go by none.
GUARDS = """
CREATE TRIGGER api_keys_marked BEFORE INSERT OR
    UPDATE OF user_id, scopes, hash, expires_at, revoked_at, changed_xid ON api_keys
    FOR EACH ROW EXECUTE FUNCTION eventify_mark_change();
CREATE TRIGGER api_keys_kept BEFORE DELETE OR TRUNCATE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_refuse(
        'api_keys_kept', 'a key is revoked, and never deleted');
"""
IDEMPOTENCY_KEYS = """
CREATE TABLE idempotency_keys (
    user_id BIGINT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    row_id BIGINT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (user_id, key),
    FOREIGN KEY(user_id) REFERENCES users (id),
    CONSTRAINT idempotency_keys_length CHECK (length(key) BETWEEN 1 AND 255)
);
-- For the catalog, too, which may not read whose a request is.
CREATE FUNCTION eventify_key_of_command(of_user bigint, named text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER AS $$
    SELECT EXISTS (SELECT FROM requests WHERE user_id = of_user AND idempotency_key = named)
$$;
"""
IN_THIS_SCHEMA = """
DO $$
BEGIN
    EXECUTE format(
        'ALTER FUNCTION eventify_key_of_command(bigint, text) SET search_path = %I, pg_temp',
        current_schema());
END $$
"""


def upgrade() -> None:
    for statements in (TABLE, GUARDS, IDEMPOTENCY_KEYS, IN_THIS_SCHEMA):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("revoked keys would work again after the next upgrade")
