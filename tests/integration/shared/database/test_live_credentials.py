"""How processes follow API keys and the ends of tokens in a real PostgreSQL."""

import time

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from gateway.accounts import store as accounts
from gateway.api_keys import store
from gateway.api_keys.store import KEYS_MAX
from shared.auth.live_credentials import hash_of, new_key
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.live_credentials import note_use, read_changes
from shared.errors import Conflict, NotAuthenticated, Unavailable
from tests.support.factories import add_user, run, scalar


@pytest.fixture
def user_id(engine: Engine) -> int:
    return add_user(engine)


def add(engine: Engine, user_id: int) -> int:
    return store.add(engine, user_id, "Checkout", ["read"], hash_of(new_key()), None)[0].id


def test_a_read_gives_what_has_changed_since_the_last(engine: Engine, user_id: int) -> None:
    key = add(engine, user_id)
    everything = read_changes(engine, None)
    assert everything.is_all
    assert [(one.id, one.user_id, one.is_live) for one in everything.keys] == [(key, user_id, True)]
    assert store.revoke(engine, user_id, key)
    changes = read_changes(engine, everything.mark)
    assert not changes.is_all
    assert [(one.id, one.is_live) for one in changes.keys] == [(key, False)]
    assert read_changes(engine, changes.mark).keys == []
    assert read_changes(engine, None).keys == []


def test_a_key_that_has_expired_is_read(engine: Engine, user_id: int) -> None:
    """By a clock that may be ahead; once that is right, nothing would be a change."""
    mark = read_changes(engine, None).mark
    run(
        engine,
        "INSERT INTO api_keys (user_id, name, scopes, hash, created_at, expires_at)"
        " VALUES (:user_id, 'x', '{read}', sha256('x'), now() - interval '2 days',"
        "         now() - interval '1 day')",
        user_id=user_id,
    )
    for since in (None, mark):
        assert [one.is_live for one in read_changes(engine, since).keys] == [True]


def test_a_change_that_is_committed_late_is_not_missed(engine: Engine, user_id: int) -> None:
    """Another one with a later transaction id is visible and read first."""
    late = add(engine, user_id)
    mark = read_changes(engine, None).mark
    with engine.connect() as slow, slow.begin():
        slow.exec_driver_sql(f"UPDATE api_keys SET revoked_at = now() WHERE id = {late}")
        early = add(engine, user_id)
        changes = read_changes(engine, mark)
        assert [one.id for one in changes.keys] == [early]
    changes = read_changes(engine, changes.mark)
    assert {(one.id, one.is_live) for one in changes.keys} == {(early, True), (late, False)}


def test_a_read_gives_whose_tokens_ended_and_who_is_locked(engine: Engine, user_id: int) -> None:
    other = add_user(engine)
    mark = read_changes(engine, None).mark
    accounts.lock(engine, user_id)
    changes = read_changes(engine, mark)
    assert changes.valid_from == {user_id: None}
    accounts.unlock(engine, user_id)
    after = read_changes(engine, changes.mark)
    assert after.valid_from[user_id] == pytest.approx(time.time(), abs=60)
    run(engine, "INSERT INTO token_cutoffs (user_id, valid_from) VALUES (:id, 7)", id=other)
    assert read_changes(engine, after.mark).valid_from == {other: 7}
    assert read_changes(engine, None).valid_from == after.valid_from | {other: 7}


def test_a_server_with_lower_transaction_ids_is_read_from_the_beginning(
    engine: Engine, user_id: int
) -> None:
    key = add(engine, user_id)
    changes = read_changes(engine, read_changes(engine, None).mark + 1_000_000)
    assert changes.is_all
    assert [one.id for one in changes.keys] == [key]


def test_the_use_of_a_key_is_stored_once_a_minute_and_is_no_change(
    engine: Engine, user_id: int
) -> None:
    key = add(engine, user_id)
    mark = read_changes(engine, None).mark
    used = "SELECT last_used_at FROM api_keys"
    note_use(engine, [key])
    noted_at = scalar(engine, used)
    note_use(engine, [key])
    assert scalar(engine, used) == noted_at
    run(engine, "UPDATE api_keys SET last_used_at = last_used_at - interval '2 minutes'")
    note_use(engine, [key])
    assert scalar(engine, used) > noted_at
    run(engine, "UPDATE api_keys SET last_used_at = now() + interval '1 day'")  # by another clock
    note_use(engine, [key])
    assert scalar(engine, f"SELECT ({used}) <= now()")
    assert read_changes(engine, mark).keys == []


def test_the_keys_of_an_erased_account_are_dead(engine: Engine, user_id: int) -> None:
    key = add(engine, user_id)
    mark = read_changes(engine, None).mark
    assert scalar(engine, "SELECT eventify_erase_user(:user_id)", user_id=user_id)
    assert [(one.id, one.is_live) for one in read_changes(engine, mark).keys] == [(key, False)]


def test_a_key_that_is_being_changed_makes_nobody_wait(engine: Engine, user_id: int) -> None:
    key = add(engine, user_id)
    with engine.connect() as other, other.begin():
        other.exec_driver_sql(f"SELECT FROM api_keys WHERE id = {key} FOR UPDATE")
        note_use(engine, [key])
    assert scalar(engine, "SELECT count(last_used_at) FROM api_keys") == 0


def test_a_key_cannot_be_deleted_so_that_every_process_sees_it_go(
    engine: Engine, user_id: int
) -> None:
    add(engine, user_id)
    with pytest.raises(DBAPIError, match="never deleted"):
        run(engine, "DELETE FROM api_keys")


def test_a_user_has_a_limited_number_of_keys(engine: Engine, user_id: int) -> None:
    run(
        engine,
        "INSERT INTO api_keys (user_id, name, scopes, hash)"
        " SELECT :user_id, 'x', '{read}', sha256(n::text::bytea) FROM generate_series(1, :rows) n",
        user_id=user_id,
        rows=KEYS_MAX,
    )
    with pytest.raises(Conflict):
        add(engine, user_id)
    add(engine, add_user(engine))
    assert store.revoke(engine, user_id, scalar(engine, "SELECT min(id) FROM api_keys"))
    add(engine, user_id)


def test_a_user_who_is_gone_gets_no_key(engine: Engine) -> None:
    with pytest.raises(NotAuthenticated):
        add(engine, 4_711)


def test_without_a_database_nothing_is_known(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql://x@127.0.0.1:1/x"})
    engine = open_engine(nowhere, "test", pool_size=1)
    with pytest.raises(Unavailable):
        read_changes(engine, None)
    with pytest.raises(Unavailable):
        note_use(engine, [1])
