"""A purchase waits no longer for who deletes its ticket type, or moves it to another event.

He holds the row's lock for as long as he reads the requests of the event, which may be seconds. All
purchases of the same batch waited with it, of whatever event, and soon all of that gateway. Now
the statement fails at once, and the gateway repeats it without that purchase. It may run while
sales run; but former gateways answer the whole batch with 503 while a ticket type is being deleted
or moved.

Revision ID: 0027
"""

from alembic import op

revision = "0027"
down_revision = "0026"

# The function of 0012, with its settings.
NOWAIT = """
DO $$
DECLARE
    former text := pg_get_functiondef('eventify_accept()'::regprocedure);
BEGIN
    EXECUTE replace(replace(former, 'FOR KEY SHARE)', 'FOR KEY SHARE NOWAIT)'),
                    'is waited for.', 'makes it fail at once.');
END $$
"""


def upgrade() -> None:
    op.execute(NOWAIT)


def downgrade() -> None:
    raise NotImplementedError("purchases would wait for deletions")
