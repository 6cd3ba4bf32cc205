"""Events are searched by a folded copy of their words: any case, any normal form.

It may run while sales run: the column has no default, so its lock is held for a moment. The rows
are filled after that, a few in each transaction, which locks nothing else; a fill that was cut off
goes on where it was. Code of the former version leaves the column null in new rows, which
are then searched as before; an event that it changes is found by its former words until it is
changed again.

Revision ID: 0008
"""

import sqlalchemy as sa
from alembic import op

from shared.text import searchable

revision = "0008"
down_revision = "0007"

ROWS_AT_ONCE = 100
UNFILLED = sa.text("""
SELECT id, title, description FROM events WHERE search_text IS NULL AND id > :last
ORDER BY id LIMIT :rows
""")
# Whoever changes an event meanwhile writes the column too.
FILL = sa.text("""
UPDATE events SET search_text = filled.words
FROM unnest(CAST(:ids AS bigint[]), CAST(:titles AS text[]), CAST(:descriptions AS text[]),
            CAST(:words AS text[])) filled (id, title, description, words)
WHERE events.id = filled.id AND events.search_text IS NULL
  AND events.title = filled.title AND events.description = filled.description
""")


def upgrade() -> None:
    op.execute("ALTER TABLE events ADD COLUMN IF NOT EXISTS search_text text")
    with op.get_context().autocommit_block():
        last, connection = 0, op.get_bind()
        while rows := connection.execute(UNFILLED, {"last": last, "rows": ROWS_AT_ONCE}).all():
            ids, titles, descriptions = (list(column) for column in zip(*rows, strict=True))
            words = [searchable(row.title, row.description) for row in rows]
            values = {"ids": ids, "titles": titles, "descriptions": descriptions, "words": words}
            connection.execute(FILL, values)
            last = ids[-1]


def downgrade() -> None:
    op.execute("ALTER TABLE events DROP COLUMN search_text")
