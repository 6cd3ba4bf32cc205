"""An index of a user's requests that serves his lists alone; 0030 drops the former one.

A key, or a payment reference, has an index with the user before it. PostgreSQL took that of all
requests of the user for as good while the table was small, or while most users had one request:
accepting a purchase then read all that its user had ever sent, thousands for a shop's account. With
its condition, this index is for statements that name the user as a constant, as those of lists do,
and not for those that find him in a column. Purchases wait while it is built, polls do not.

Revision ID: 0029
"""

from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.execute("CREATE INDEX requests_of_user ON requests (user_id, seq) WHERE user_id > 0")


def downgrade() -> None:
    op.execute("DROP INDEX requests_of_user")
