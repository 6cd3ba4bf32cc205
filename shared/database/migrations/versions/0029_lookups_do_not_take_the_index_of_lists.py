"""Indexes for lists that look-ups cannot take; 0030 drops the former ones.

A request is found by its user and its key or payment, a hold by its event and its purchase.
PostgreSQL took the index of all requests of the user, or of all holds of the event in the order of
their ends, for as good: while the tables were small, while most users had one request, while most
events had one hold. Each look-up then read all that a shop's account had ever sent, or all that a
sale had on hold. A look-up does not fulfil the conditions of these indexes: it has no constant user
and no end. Purchases wait while they are built, polls do not.

Revision ID: 0029
"""

from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.execute("CREATE INDEX requests_of_user ON requests (user_id, seq) WHERE user_id > 0")
    op.execute(
        "CREATE INDEX holds_in_order ON holds (event_id, ends_at) WHERE ends_at > '-infinity'"
    )


def downgrade() -> None:
    op.execute("DROP INDEX requests_of_user")
    op.execute("DROP INDEX holds_in_order")
