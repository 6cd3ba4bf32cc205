"""Indexes for lists that look-ups cannot take; 0030 drops the former ones.

A request is found by its user and its key or payment, a hold by its event and its purchase.
PostgreSQL took the index of all requests of the user, or of all holds of the event in the order of
their ends, for as good: while the tables were small, while most users had one request, while most
events had one hold. Each look-up then read all that a shop's account had ever sent, or all that a
sale had on hold. An index with a condition is for statements that repeat it, or name a constant
that fulfils it; look-ups do neither. Purchases wait while they are built, polls do not.

Revision ID: 0029
"""

from alembic import op

revision = "0029"
down_revision = "0028"


# Of the functions, whose user is no constant.
REPEAT_IT = r"""
DO $$
DECLARE
    function regprocedure;
    former text;
    changed text;
BEGIN
    FOREACH function IN ARRAY ARRAY['eventify_erase_user(bigint)'::regprocedure,
                                    'eventify_keep_user_with_requests()'::regprocedure] LOOP
        former := pg_get_functiondef(function);
        changed := regexp_replace(
            former, 'FROM requests\s+WHERE user_id = (erased|OLD.id)', '\& AND user_id > 0');
        IF changed = former THEN
            RAISE EXCEPTION '% is not that of revision 0028', function;
        END IF;
        EXECUTE changed;
    END LOOP;
END $$
"""


def upgrade() -> None:
    op.execute("CREATE INDEX requests_of_user ON requests (user_id, seq) WHERE user_id > 0")
    op.execute(
        "CREATE INDEX holds_in_order ON holds (event_id, ends_at) WHERE ends_at > '-infinity'"
    )
    op.execute(REPEAT_IT)


def downgrade() -> None:
    raise NotImplementedError("look-ups would read all requests of a user")
