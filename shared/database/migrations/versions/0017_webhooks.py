"""Webhooks: where entries of a ledger are sent, how far each has received them, what was tried.

It may run while sales run: the tables are new.

Revision ID: 0017
"""

from alembic import op

revision = "0017"
down_revision = "0016"

TABLES = """
CREATE TABLE webhooks (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    user_id BIGINT NOT NULL,
    event_id BIGINT,
    url TEXT NOT NULL,
    kinds entry_kind[] NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    disabled_at TIMESTAMP WITH TIME ZONE,
    disabled_reason TEXT,
    test_id UUID,
    PRIMARY KEY (id),
    FOREIGN KEY(user_id) REFERENCES users (id),
    CONSTRAINT webhooks_url_length CHECK (length(url) BETWEEN 1 AND 2000),
    CONSTRAINT webhooks_kinds_some CHECK (cardinality(kinds) >= 1),
    CONSTRAINT webhooks_disabled_for_a_reason CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL) AND disabled_reason IN ('owner', 'gone', 'failing'))
);
CREATE INDEX webhooks_by_user ON webhooks (user_id, id);
CREATE INDEX webhooks_tested ON webhooks (id) WHERE test_id IS NOT NULL;
CREATE TABLE webhook_secrets (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    webhook_id BIGINT NOT NULL,
    secret BYTEA NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    FOREIGN KEY(webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE,
    CONSTRAINT webhook_secrets_length CHECK (octet_length(secret) BETWEEN 24 AND 64)
);
CREATE INDEX webhook_secrets_by_webhook ON webhook_secrets (webhook_id);
CREATE TABLE webhook_cursors (
    webhook_id BIGINT NOT NULL,
    event_id BIGINT NOT NULL,
    number BIGINT DEFAULT '0' NOT NULL,
    sending_id UUID,
    sending_to BIGINT,
    is_restored BOOLEAN DEFAULT false NOT NULL,
    failures INTEGER DEFAULT '0' NOT NULL,
    failing_since TIMESTAMP WITH TIME ZONE,
    next_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    turn BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (webhook_id, event_id),
    FOREIGN KEY(webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE,
    CONSTRAINT webhook_cursors_number_not_negative CHECK (number >= 0),
    CONSTRAINT webhook_cursors_sending CHECK ((sending_id IS NULL) = (sending_to IS NULL) AND sending_to >= number),
    CONSTRAINT webhook_cursors_failures CHECK (failures >= 0 AND (failures = 0) = (failing_since IS NULL))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE INDEX webhook_cursors_by_event ON webhook_cursors (event_id);
CREATE INDEX webhook_cursors_failing ON webhook_cursors (webhook_id) WHERE failures > 0;
CREATE TABLE webhook_deliveries (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    webhook_id BIGINT NOT NULL,
    delivery_id UUID NOT NULL,
    event_id BIGINT,
    first_number BIGINT,
    last_number BIGINT,
    attempt INTEGER,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    status SMALLINT,
    failure TEXT,
    milliseconds INTEGER NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook_id, id);
"""  # noqa: E501 - as the database would print it


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("receivers would miss what is sold until the next upgrade")
