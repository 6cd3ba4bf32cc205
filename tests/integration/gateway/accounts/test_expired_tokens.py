"""The deletion of expired refresh tokens, beside many sign-ins that are still used."""

from datetime import UTC, datetime

from sqlalchemy import Engine

from gateway.accounts import store
from tests.support.factories import add_user, run, scalar
from tests.support.plans import rows_read

IN_USE = 500
SIGN_INS = """
WITH first AS (
    SELECT gen_random_uuid() AS id, now() - interval '26 hours' + n * interval '1 second' AS at, n
    FROM generate_series(1, :in_use + 1) n
)
INSERT INTO refresh_tokens (id, family, user_id, issued_at, expires_at)
SELECT id, id, :user_id, at - interval '1 day', at FROM first
UNION ALL
SELECT gen_random_uuid(), id, :user_id, now(), now() + interval '1 day' FROM first
WHERE n <= :in_use
"""


def test_sign_ins_in_use_make_no_deletion_longer(engine: Engine) -> None:
    run(engine, SIGN_INS, in_use=IN_USE, user_id=add_user(engine))
    run(engine, "ANALYZE refresh_tokens")
    total = 0
    after: datetime | None = datetime.min.replace(tzinfo=UTC)
    while after is not None:
        before = rows_read(engine)
        deleted, after = store.delete_expired(engine, 50, after)
        assert rows_read(engine) - before < 500
        total += deleted
    assert total == 1
    assert scalar(engine, "SELECT count(*) FROM refresh_tokens") == 2 * IN_USE
