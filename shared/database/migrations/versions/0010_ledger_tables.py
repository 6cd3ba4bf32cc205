# ruff: noqa: E501 - the statements stand as the database would print them
"""The ledger: every event is a lane, every change of its sale a command, nothing is rewritten.

It makes the tables; 0011 copies the sales of the former tables into them, and 0012 adds the guards
and drops the former tables. Services of a former version must be stopped (docs/operations.md). So
it refuses while any is connected to a database with sales; and it renames the former tables, so
that one that is started later can change nothing: each of its statements fails.

Revision ID: 0010
"""

import sqlalchemy as sa
from alembic import context, op

from shared.errors import ConfigurationError

revision = "0010"
down_revision = "0009"

READ_SERVICES = sa.text("""
SELECT string_agg(DISTINCT application_name, ', ') FROM pg_stat_activity
WHERE datname = current_database() AND application_name IN
    ('eventify-gateway', 'eventify-catalog', 'eventify-worker', 'eventify-sweeper')
  AND EXISTS (SELECT FROM ticket_inventory)
""")
FORMER_TABLES = """
ALTER TABLE ticket_purchases RENAME TO former_purchases;
ALTER TABLE decision_batches RENAME TO former_batches;
ALTER TABLE inventory_changes RENAME TO former_changes;
ALTER TABLE ticket_inventory RENAME TO former_inventory;
"""

CATALOG = """
ALTER TABLE events
    ADD COLUMN currency text NOT NULL DEFAULT 'EUR',
    ADD COLUMN max_per_user integer,
    ADD CONSTRAINT events_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
    ADD CONSTRAINT events_max_per_user_positive CHECK (max_per_user >= 1);
DROP INDEX ticket_types_by_event;
ALTER TABLE ticket_types
    ADD COLUMN hold_seconds integer,
    ADD CONSTRAINT ticket_types_hold_seconds_bounded CHECK (hold_seconds BETWEEN 30 AND 7200),
    ADD CONSTRAINT ticket_types_of_event UNIQUE (event_id, id);
"""

# Until now a price had no currency.
SET_CURRENCY = sa.text("UPDATE events SET currency = :currency WHERE currency <> :currency")

TYPES = """
CREATE TYPE request_kind AS ENUM (
    'buy', 'issue', 'withdraw', 'confirm', 'release', 'cancel', 'expire', 'extend');
CREATE TYPE entry_kind AS ENUM (
    'issued', 'withdrawn', 'confirmed', 'held', 'rejected', 'refused', 'released', 'expired',
    'cancelled', 'extended');
CREATE TYPE rejection_reason AS ENUM (
    'not_enough_tickets', 'over_user_limit', 'all_held', 'not_held', 'hold_expired',
    'hold_released', 'not_due', 'already_confirmed', 'not_confirmed',
    'already_cancelled', 'extension_limit');
"""

TABLES = """
CREATE TABLE lanes (
    event_id BIGINT NOT NULL,
    number BIGINT DEFAULT 0 NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    done_seq BIGINT DEFAULT 0 NOT NULL,
    next_done_seq BIGINT DEFAULT 0 NOT NULL,
    next_done_xid xid8 DEFAULT '0' NOT NULL,
    extended_seconds INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (event_id),
    CONSTRAINT lanes_number_not_negative CHECK (number >= 0)
)
 WITH (fillfactor = 20);
CREATE TABLE counters (
    event_id BIGINT NOT NULL,
    ticket_type_id BIGINT NOT NULL,
    issued INTEGER DEFAULT 0 NOT NULL,
    held INTEGER DEFAULT 0 NOT NULL,
    sold INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (event_id, ticket_type_id),
    CONSTRAINT counters_ticket_type_id_fkey FOREIGN KEY (event_id, ticket_type_id) REFERENCES ticket_types (event_id, id) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT counters_never_oversold CHECK (held >= 0 AND sold >= 0 AND held + sold <= issued),
    CONSTRAINT counters_left_bounded CHECK (issued - held - sold <= 1000000000)
)
 WITH (fillfactor = 20);
CREATE TABLE requests (
    id UUID NOT NULL,
    event_id BIGINT NOT NULL,
    seq BIGINT GENERATED ALWAYS AS IDENTITY (CACHE 1),
    user_id BIGINT,
    ticket_type_id BIGINT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    accepted_xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    kind request_kind DEFAULT 'buy' NOT NULL,
    quantity INTEGER,
    user_limit INTEGER,
    event_user_limit INTEGER,
    unit_price NUMERIC(12, 2),
    currency TEXT,
    items JSONB,
    idempotency_key TEXT,
    fingerprint BYTEA,
    request_id TEXT,
    traceparent TEXT,
    buyer TEXT DEFAULT '' NOT NULL,
    hold_seconds INTEGER,
    purchase_id UUID,
    payment_reference TEXT,
    amount NUMERIC(19, 2),
    restock BOOLEAN,
    note TEXT,
    PRIMARY KEY (id),
    CONSTRAINT requests_lines CHECK (CASE WHEN kind IN ('confirm', 'release', 'expire', 'extend') THEN num_nonnulls(ticket_type_id, quantity, items) = 0 WHEN kind = 'cancel' THEN items IS NOT NULL AND num_nonnulls(ticket_type_id, quantity) = 0 AND jsonb_array_length(items) BETWEEN 1 AND 10 WHEN items IS NULL THEN num_nulls(ticket_type_id, quantity) = 0 ELSE num_nonnulls(ticket_type_id, quantity, unit_price, user_limit) = 0 AND jsonb_array_length(items) BETWEEN 2 AND 10 END),
    CONSTRAINT requests_terms CHECK (CASE kind WHEN 'buy' THEN num_nulls(user_id, currency) = 0 AND num_nonnulls(unit_price, items) = 1 AND num_nonnulls(purchase_id, payment_reference, amount, restock, note) = 0 ELSE num_nonnulls(unit_price, user_limit, event_user_limit) = 0 AND (buyer = '' OR kind = 'expire') AND (user_id IS NOT NULL OR kind IN ('issue', 'withdraw')) AND (purchase_id IS NOT NULL) = (kind IN ('confirm', 'release', 'cancel', 'expire')) AND num_nonnulls(payment_reference, amount, currency) = CASE kind WHEN 'confirm' THEN 3 ELSE 0 END AND (restock IS NOT NULL) = (kind = 'cancel') AND (note IS NULL OR kind = 'cancel') AND (hold_seconds IS NOT NULL) = (kind = 'extend') AND (items IS NULL OR kind = 'cancel') AND (idempotency_key IS NULL OR kind NOT IN ('issue', 'withdraw', 'expire')) END),
    CONSTRAINT requests_hold_seconds_positive CHECK (hold_seconds >= 1),
    CONSTRAINT requests_buyer_length CHECK (length(buyer) <= 255),
    CONSTRAINT requests_payment_reference_length CHECK (length(payment_reference) BETWEEN 1 AND 255),
    CONSTRAINT requests_note_length CHECK (length(note) BETWEEN 1 AND 500),
    CONSTRAINT requests_quantity_positive CHECK (quantity >= 1),
    CONSTRAINT requests_unit_price_not_negative CHECK (unit_price >= 0 AND unit_price <> 'NaN'),
    CONSTRAINT requests_user_limits_positive CHECK (user_limit >= 1 AND event_user_limit >= 1),
    CONSTRAINT requests_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    CONSTRAINT requests_key_has_fingerprint CHECK ((idempotency_key IS NULL) = (fingerprint IS NULL))
);
CREATE UNIQUE INDEX requests_idempotency ON requests (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX requests_by_holder ON requests (event_id, user_id, buyer, seq);
CREATE INDEX requests_of_expiries ON requests (user_id, buyer, event_id, seq) WHERE kind = 'expire';
CREATE INDEX requests_by_payment_reference ON requests (user_id, payment_reference) WHERE payment_reference IS NOT NULL;
CREATE INDEX requests_by_user ON requests (user_id, seq);
CREATE INDEX requests_by_buyer ON requests (user_id, buyer, seq) WHERE buyer <> '';
CREATE INDEX requests_of_releases ON requests (purchase_id) WHERE kind = 'release';
CREATE TABLE work_list (
    event_id BIGINT NOT NULL,
    class SMALLINT NOT NULL,
    seq BIGINT NOT NULL,
    command_id UUID NOT NULL,
    PRIMARY KEY (event_id, class, seq),
    CONSTRAINT work_list_class_known CHECK (class IN (0, 1))
)
 WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE TABLE holds (
    event_id BIGINT NOT NULL,
    purchase_id UUID NOT NULL,
    ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (event_id, purchase_id)
)
 WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE INDEX holds_by_end ON holds (event_id, ends_at);
CREATE TABLE ledger (
    event_id BIGINT NOT NULL,
    number BIGINT NOT NULL,
    command_id UUID NOT NULL,
    purchase_id UUID,
    ticket_type_id BIGINT,
    kind entry_kind NOT NULL,
    reason rejection_reason,
    change INTEGER,
    left_after INTEGER,
    items JSONB,
    PRIMARY KEY (event_id, number),
    CONSTRAINT ledger_one_answer UNIQUE (event_id, command_id),
    CONSTRAINT ledger_number_positive CHECK (number >= 1),
    CONSTRAINT ledger_lines CHECK (CASE WHEN items IS NULL THEN num_nulls(ticket_type_id, change, left_after) = 0 ELSE num_nonnulls(ticket_type_id, change, left_after) = 0 END),
    CONSTRAINT ledger_reason CHECK ((kind IN ('rejected', 'refused')) = (reason IS NOT NULL)),
    CONSTRAINT ledger_change_of_kind CHECK (CASE kind WHEN 'issued' THEN change > 0 WHEN 'rejected' THEN change = 0 WHEN 'refused' THEN change = 0 ELSE change < 0 END),
    CONSTRAINT ledger_left_not_negative CHECK (left_after >= 0)
);
CREATE INDEX ledger_of_purchase ON ledger (event_id, purchase_id, number) WHERE purchase_id IS NOT NULL;
CREATE TABLE batches (
    event_id BIGINT NOT NULL,
    first_number BIGINT NOT NULL,
    last_number BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    seen pg_snapshot NOT NULL,
    decided_by TEXT NOT NULL,
    locked_lanes SMALLINT,
    ticket_type_id BIGINT,
    PRIMARY KEY (event_id, first_number),
    CONSTRAINT batches_numbers CHECK (first_number BETWEEN 1 AND last_number)
);
"""


def upgrade() -> None:
    if services := op.get_bind().scalar(READ_SERVICES):
        raise ConfigurationError(
            f"The ledger is made while no service runs, and these are connected: {services}. No sale"
            " was changed. Stop all gateways, catalogs, workers and sweepers, and run it again."
        )
    for statements in (FORMER_TABLES, CATALOG, TYPES, TABLES):
        op.execute(statements)
    op.get_bind().execute(SET_CURRENCY, {"currency": context.config.attributes["currency"]})


def downgrade() -> None:
    raise NotImplementedError("a ledger is never rewritten: restore a backup")
