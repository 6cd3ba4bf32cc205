"""Events can be published: what everybody may read of their sale, and what buyers are told.

It may run while sales run: the events are read once under its lock, as by 0015. Code of the former
version publishes nothing.

Revision ID: 0018
"""

from alembic import op

revision = "0018"
down_revision = "0017"

COLUMNS = r"""
ALTER TABLE events
    ADD COLUMN published boolean DEFAULT false NOT NULL,
    ADD COLUMN show_left boolean DEFAULT false NOT NULL,
    ADD COLUMN payment_url text,
    ADD COLUMN notice text DEFAULT '' NOT NULL,
    ADD CONSTRAINT events_payment_url_form CHECK (payment_url COLLATE "C" ~* '^https?://[!-~]+$' AND strpos(payment_url, '\') = 0),
    ADD CONSTRAINT events_payment_url_length CHECK (length(payment_url) <= 2000),
    ADD CONSTRAINT events_notice_length CHECK (length(notice) <= 500)
"""  # noqa: E501 - as the database would print it
# Of the list of published events that have not ended.
INDEX = "CREATE INDEX events_published ON events (end_time) WHERE published"


def upgrade() -> None:
    for statements in (COLUMNS, INDEX):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("what is published would be hidden without a word")
