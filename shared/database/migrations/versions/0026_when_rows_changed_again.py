"""What 0020 does, where it was passed over.

The first commit that calls itself 0.2.0 had 0021 right after 0019. A database that it made is past
0020, and no later version ran it. It may run while sales run, as 0020 may.

Revision ID: 0026
"""

from importlib import import_module

from alembic import op

revision = "0026"
down_revision = "0025"

HAS_COLUMN = """
SELECT EXISTS (SELECT FROM pg_attribute
               WHERE attrelid = 'events'::regclass AND attname = 'updated_at')
"""


def upgrade() -> None:
    if op.get_bind().exec_driver_sql(HAS_COLUMN).scalar():
        return
    passed_over = import_module("shared.database.migrations.versions.0020_when_rows_changed")
    # 0025 has made the newest `eventify_issue`.
    for statements in ("COLUMNS", "UPDATED", "INDEXES", "IN_THIS_SCHEMA"):
        op.execute(getattr(passed_over, statements))


def downgrade() -> None:
    raise NotImplementedError("when rows were changed would be forgotten")
