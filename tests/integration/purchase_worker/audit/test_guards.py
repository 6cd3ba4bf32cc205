"""The database as last guard: what no code may do, no SQL can do either."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg2
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from gateway.accounts import store as accounts
from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.database.engine import open_engine
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_user,
    ignore,
    inventory,
    queue,
    request,
    rows,
    run,
)
from tests.support.servers import new_database
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def guarded(postgres_url: str) -> Iterator[Engine]:
    """A database with a row of every kind: what raises changes none of them."""
    with new_database(postgres_url) as url:
        settings = Settings(database_url=url)
        engine = open_engine(settings, "test-guards")
        add_event(engine)
        _sell(engine, settings)
        _give_out_tokens(engine)
        yield engine
        engine.dispose()


def _sell(engine: Engine, settings: Settings) -> int:
    """A ticket type with a confirmed purchase, a rejected one, and a queued one over the limit."""
    buyer, sold = add_user(engine), add_ticket_type(engine, 2, max_per_user=2)
    queue(engine, [request(buyer, sold, 1), request(buyer, sold, 2)])
    drain(engine, [sold], settings, ignore)
    queue(engine, [request(buyer, sold, 3, key="k")])
    return sold


def _give_out_tokens(engine: Engine) -> None:
    """A spent token and its successor; a revoked token."""
    holder, day = add_user(engine), timedelta(days=1)
    first = accounts.start_family(engine, holder, day)
    accounts.spend(engine, first.id, lifetime=day, retry_window=timedelta(0))
    accounts.revoke(engine, accounts.start_family(engine, holder, day).id)


def insert(table: str, values: dict[str, str]) -> str:
    """A row of SQL expressions; an id may be given where the database makes them."""
    row = f"({', '.join(values)}) OVERRIDING SYSTEM VALUE SELECT {', '.join(values.values())}"
    return f"INSERT INTO {table} {row}"


def user(**changes: str) -> str:
    return insert("users", {"username": "'somebody'"} | changes)


def token(**changes: str) -> str:
    """A refresh token that begins a family."""
    values = {
        "id": "'00000000-0000-0000-0000-000000000001'",
        "family": "'00000000-0000-0000-0000-000000000001'",
        "user_id": "(SELECT min(id) FROM users)",
        "issued_at": "now()",
        "expires_at": "now() + interval '1 day'",
    }
    return insert("refresh_tokens", values | changes)


def of_spent(change: str) -> str:
    return f"UPDATE refresh_tokens SET {change} WHERE spent_at IS NOT NULL"


def event(**changes: str) -> str:
    values = {
        "title": "'Concert'",
        "start_time": "now()",
        "end_time": "now() + interval '1 hour'",
        "owner_id": "(SELECT min(id) FROM users)",
    }
    return insert("events", values | changes)


def ticket_type(**changes: str) -> str:
    values = {"event_id": "(SELECT min(id) FROM events)", "name": "'Seat'", "price": "1"}
    return insert("ticket_types", values | changes)


def counted_ticket_type(**changes: str) -> str:
    """A new ticket type together with its counter."""
    made = f"WITH made AS ({ticket_type()} RETURNING id) "
    return (
        made
        + insert("ticket_inventory", {"ticket_type_id": "id", "issued": "5"} | changes)
        + (" FROM made")
    )


def purchase(**changes: str) -> str:
    """A purchase of the same buyer as an earlier one."""
    values = {
        "id": "gen_random_uuid()",
        "user_id": "user_id",
        "ticket_type_id": "ticket_type_id",
        "quantity": "1",
        "unit_price": "1",
    }
    return insert("ticket_purchases", values | changes) + " FROM ticket_purchases LIMIT 1"


def decide(**changes: str) -> str:
    """The right outcome of the queued purchase, were its number and its batch right too."""
    values = {
        "status": "'rejected'",
        "reason": "'over_user_limit'",
        "decided_at": "now()",
        "decision_number": "3",
        "left_after": "3",
    }
    changed = ", ".join(f"{column} = {value}" for column, value in (values | changes).items())
    return f"UPDATE ticket_purchases SET {changed} WHERE status = 'queued'"


def batch(**changes: str) -> str:
    values = {
        "ticket_type_id": "(SELECT max(id) FROM ticket_types)",
        "first_number": "3",
        "last_number": "3",
        "seen": "pg_current_snapshot()",
        "decided_by": "'test'",
    }
    return insert("decision_batches", values | changes)


def in_queue(change: str) -> str:
    return f"UPDATE ticket_purchases SET {change} WHERE status = 'queued'"


def snapshot(statement: str) -> str:
    """The statement in a transaction that sees one moment."""
    return f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; {statement}"


ACCOUNTS = [
    (user(id="(SELECT min(id) FROM users)"), "users_pkey"),
    (user(id="0"), "users_id_positive"),
    (user(username="(SELECT upper(min(username)) FROM users)"), "users_username_key"),
    (user(username="''"), "users_username_form"),
    (user(username="'two words'"), "users_username_form"),
    (user(username="e'line\\n'"), "users_username_form"),
    (user(username="'<b>'"), "users_username_form"),
    (user(username="'ﬁne'"), "users_username_one_spelling"),
    (user(email="''"), "users_email_form"),
    (user(email="'ana@localhost'"), "users_email_form"),
    (user(email="'ana@ex ample.com'"), "users_email_form"),
    (user(email="repeat('a', 243) || '@example.com'"), "users_email_form"),
    (user(password_hash="'velvet-tram-42'"), "users_password_hashed"),
    ("UPDATE users SET id = DEFAULT", "users_id_frozen"),
    (snapshot("DELETE FROM users WHERE id = 0"), "users_read_committed"),
    ("TRUNCATE users CASCADE", "users_never_truncated"),
]
TOKENS = [
    (token(id="(SELECT id FROM refresh_tokens LIMIT 1)"), "refresh_tokens_pkey"),
    (token(user_id="0"), "refresh_tokens_user_id_fkey"),
    (token(family="gen_random_uuid()"), "refresh_tokens_family_fkey"),
    (token(expires_at="now()"), "refresh_tokens_expires_after_issue"),
    (token(spent_at="now()"), "refresh_tokens_spent_for_successor"),
    (token(successor="gen_random_uuid()"), "refresh_tokens_spent_for_successor"),
    ("DELETE FROM refresh_tokens WHERE spent_at IS NOT NULL", "refresh_tokens_family_fkey"),
    ("UPDATE refresh_tokens SET expires_at = 'infinity'", "refresh_tokens_terms_frozen"),
    ("UPDATE refresh_tokens SET family = id", "refresh_tokens_terms_frozen"),
    (of_spent("spent_at = now()"), "refresh_tokens_spent_once"),
    (of_spent("successor = gen_random_uuid()"), "refresh_tokens_spent_once"),
    (of_spent("spent_at = NULL, successor = NULL"), "refresh_tokens_spent_once"),
    (
        "UPDATE refresh_tokens SET spent_at = now(), successor = id WHERE revoked_at IS NOT NULL",
        "refresh_tokens_spent_once",
    ),
    ("UPDATE refresh_tokens SET revoked_at = NULL", "refresh_tokens_revoked_for_ever"),
]
EVENTS = [
    (event(id="(SELECT min(id) FROM events)"), "events_pkey"),
    (event(id="0"), "events_id_positive"),
    (event(owner_id="0"), "events_owner_id_fkey"),
    (event(title="''"), "events_title_length"),
    (event(title="repeat('x', 201)"), "events_title_length"),
    (event(title="' '"), "events_title_trimmed"),
    (event(title="e'Concert\\n'"), "events_title_trimmed"),
    (event(end_time="now()"), "events_end_after_start"),
    (event(start_time="'-infinity'"), "events_start_time_writable"),
    (event(start_time="'0044-03-15 00:00+00 BC'"), "events_start_time_writable"),
    (event(end_time="'infinity'"), "events_end_time_writable"),
    (event(end_time="'10000-01-01 00:00+00'"), "events_end_time_writable"),
    ("DELETE FROM events", "ticket_purchases_ticket_type_id_fkey"),
]
TICKET_TYPES = [
    (ticket_type(id="(SELECT min(id) FROM ticket_types)"), "ticket_types_pkey"),
    (ticket_type(id="0"), "ticket_types_id_positive"),
    (ticket_type(event_id="0"), "ticket_types_event_id_fkey"),
    (ticket_type(name="''"), "ticket_types_name_length"),
    (ticket_type(name="' Seat'"), "ticket_types_name_trimmed"),
    (ticket_type(price="-0.01"), "ticket_types_price_not_negative"),
    (ticket_type(price="'NaN'"), "ticket_types_price_a_number"),
    (ticket_type(max_per_purchase="0"), "ticket_types_max_per_purchase_positive"),
    (ticket_type(max_per_purchase="1000001"), "ticket_types_max_per_purchase_bounded"),
    (ticket_type(max_per_user="0"), "ticket_types_max_per_user_positive"),
    (ticket_type(sales_start="'-infinity'"), "ticket_types_sales_start_writable"),
    (ticket_type(sales_end="'infinity'"), "ticket_types_sales_end_writable"),
    (ticket_type(paused_at="'infinity'"), "ticket_types_paused_at_writable"),
    (ticket_type(sales_start="now()", sales_end="now()"), "ticket_types_sales_end_after_start"),
    (ticket_type(), "ticket_types_counted"),
    (
        "UPDATE ticket_types SET event_id = (SELECT min(id) FROM events)",
        "ticket_types_stays_with_its_event",
    ),
    ("UPDATE ticket_types SET id = DEFAULT", "ticket_types_id_frozen"),
    ("DELETE FROM ticket_types", "ticket_purchases_ticket_type_id_fkey"),
    (snapshot("DELETE FROM ticket_types WHERE id = 0"), "ticket_types_read_committed"),
    (snapshot("UPDATE ticket_types SET event_id = event_id"), "ticket_types_read_committed"),
    ("TRUNCATE ticket_types CASCADE", "ticket_types_never_truncated"),
]
COUNTER = [
    (
        insert("ticket_inventory", {"ticket_type_id": "0", "issued": "1"}),
        "ticket_inventory_ticket_type_id_fkey",
    ),
    ("INSERT INTO ticket_inventory SELECT * FROM ticket_inventory", "ticket_inventory_born_unsold"),
    (
        "INSERT INTO ticket_inventory SELECT ticket_type_id, 5 FROM ticket_inventory",
        "ticket_inventory_pkey",
    ),
    (counted_ticket_type(sold="1"), "ticket_inventory_born_unsold"),
    (counted_ticket_type(decisions="-1"), "ticket_inventory_born_unsold"),
    (counted_ticket_type(issued="-1"), "ticket_inventory_never_oversold"),
    (counted_ticket_type(issued="1000000001"), "ticket_inventory_left_bounded"),
    ("UPDATE ticket_inventory SET sold = 3", "ticket_inventory_never_oversold"),
    ("UPDATE ticket_inventory SET issued = 0", "ticket_inventory_never_oversold"),
    ("UPDATE ticket_inventory SET sold = 0", "ticket_inventory_only_grows"),
    ("UPDATE ticket_inventory SET decisions = 0", "ticket_inventory_only_grows"),
    ("UPDATE ticket_inventory SET ticket_type_id = 0", "ticket_inventory_only_grows"),
    ("UPDATE ticket_inventory SET sold = 2", "ticket_inventory_moves_by_decisions"),
    ("UPDATE ticket_inventory SET decisions = 3", "ticket_inventory_moves_by_decisions"),
    ("DELETE FROM ticket_inventory", "ticket_inventory_kept"),
    ("TRUNCATE ticket_inventory", "ticket_inventory_never_truncated"),
]
RECORDS = [
    (
        insert("inventory_changes", {"ticket_type_id": "1", "change": "5", "after_decision": "0"}),
        "inventory_changes_by_the_counter",
    ),
    ("UPDATE inventory_changes SET change = 5", "inventory_changes_immutable"),
    ("DELETE FROM inventory_changes", "inventory_changes_kept"),
    ("TRUNCATE inventory_changes", "inventory_changes_never_truncated"),
    (batch(first_number="1", last_number="1"), "decision_batches_pkey"),
    (batch(ticket_type_id="0"), "decision_batches_ticket_type_id_fkey"),
    (batch(first_number="0"), "decision_batches_numbers"),
    (batch(last_number="2"), "decision_batches_numbers"),
    (batch(), "decision_batches_counted"),
    ("UPDATE decision_batches SET last_number = 5", "decision_batches_immutable"),
    ("DELETE FROM decision_batches", "decision_batches_immutable"),
    ("TRUNCATE decision_batches", "decision_batches_never_truncated"),
]
ACCEPTANCES = [
    (purchase(id="id"), "ticket_purchases_pkey"),
    (purchase(user_id="0"), "ticket_purchases_user_id_fkey"),
    (purchase(ticket_type_id="0"), "ticket_purchases_ticket_type_id_fkey"),
    (purchase(quantity="0"), "ticket_purchases_quantity_positive"),
    (purchase(unit_price="-1"), "ticket_purchases_unit_price_not_negative"),
    (purchase(unit_price="'NaN'"), "ticket_purchases_unit_price_a_number"),
    (purchase(user_limit="0"), "ticket_purchases_user_limit_positive"),
    (purchase(idempotency_key="''", fingerprint="'f'"), "ticket_purchases_key_length"),
    (
        purchase(idempotency_key="repeat('k', 256)", fingerprint="'f'"),
        "ticket_purchases_key_length",
    ),
    (purchase(idempotency_key="'key'"), "ticket_purchases_key_has_fingerprint"),
    (purchase(fingerprint="'f'"), "ticket_purchases_key_has_fingerprint"),
    (purchase(idempotency_key="'k'", fingerprint="'f'"), "ticket_purchases_idempotency"),
    (purchase(status="'confirmed'"), "ticket_purchases_born_queued"),
    (purchase(decision_number="9"), "ticket_purchases_decided_whole"),
    (purchase(created_at="now() - interval '1 hour'"), "ticket_purchases_born_now"),
    (purchase(created_at="'infinity'"), "ticket_purchases_born_now"),
    (purchase(accepted_xid="'3'"), "ticket_purchases_born_now"),
    (snapshot(purchase()), "ticket_purchases_read_committed"),
    ("DELETE FROM users", "ticket_purchases_user_id_fkey"),
]
DECISIONS = [
    (in_queue("id = gen_random_uuid()"), "ticket_purchases_terms_frozen"),
    (in_queue("seq = DEFAULT"), "ticket_purchases_terms_frozen"),
    (in_queue("user_id = 0"), "ticket_purchases_terms_frozen"),
    (in_queue("ticket_type_id = 0"), "ticket_purchases_terms_frozen"),
    (in_queue("quantity = 9"), "ticket_purchases_terms_frozen"),
    (in_queue("unit_price = 0"), "ticket_purchases_terms_frozen"),
    (in_queue("user_limit = NULL"), "ticket_purchases_terms_frozen"),
    (in_queue("idempotency_key = 'x'"), "ticket_purchases_terms_frozen"),
    (in_queue("fingerprint = 'x'"), "ticket_purchases_terms_frozen"),
    (in_queue("request_id = 'x'"), "ticket_purchases_terms_frozen"),
    (in_queue("created_at = now()"), "ticket_purchases_terms_frozen"),
    (in_queue("accepted_xid = '3'"), "ticket_purchases_terms_frozen"),
    (in_queue("status = 'confirmed'"), "ticket_purchases_decided_whole"),
    (in_queue("status = 'lost'"), "ticket_purchases_decided_whole"),
    (in_queue("decision_number = 3"), "ticket_purchases_decided_whole"),
    (decide(reason="NULL"), "ticket_purchases_decided_whole"),
    (decide(status="'confirmed'"), "ticket_purchases_decided_whole"),
    (decide(reason="'bad_luck'"), "ticket_purchases_reason_true"),
    (decide(reason="'not_enough_tickets'"), "ticket_purchases_reason_true"),
    (decide(left_after="2"), "ticket_purchases_reason_true"),
    (decide(left_after="-1"), "ticket_purchases_left_not_negative"),
    (decide(decision_number="0"), "ticket_purchases_decision_number_positive"),
    (decide(decision_number="1"), "ticket_purchases_decisions"),
    (
        decide(decided_at="created_at - interval '1 second'"),
        "ticket_purchases_decided_after_created",
    ),
    (decide(status="'confirmed'", reason="NULL"), "ticket_purchases_within_user_limit"),
    (
        "UPDATE ticket_purchases SET quantity = 9 WHERE status = 'confirmed'",
        "ticket_purchases_immutable",
    ),
    (
        "UPDATE ticket_purchases SET status = 'confirmed', reason = NULL WHERE status = 'rejected'",
        "ticket_purchases_immutable",
    ),
    ("DELETE FROM ticket_purchases", "ticket_purchases_never_deleted"),
    ("TRUNCATE ticket_purchases", "ticket_purchases_never_truncated"),
]
VIOLATIONS = [
    *ACCOUNTS,
    *TOKENS,
    *EVENTS,
    *TICKET_TYPES,
    *COUNTER,
    *RECORDS,
    *ACCEPTANCES,
    *DECISIONS,
]
# These raise nothing: they write the record.
RECORDERS = {"ticket_inventory_issue_recorded", "ticket_inventory_change_recorded"}
# Another guard raises before these.
BEHIND_ANOTHER = {
    "inventory_changes_pkey",
    "inventory_changes_ticket_type_id_fkey",
    "ticket_inventory_decisions_not_negative",
}
READ_ALL_GUARDS = """
SELECT conname FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'p', 'u')
UNION
SELECT tgname FROM pg_trigger WHERE NOT tgisinternal
UNION
SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE indisunique AND relnamespace = 'public'::regnamespace
"""


def attempt(engine: Engine, statement: str) -> None:
    """Run it as far as the end of its transaction, which is then rolled back."""
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")


def error_of(engine: Engine, statement: str) -> psycopg2.Error:
    with pytest.raises(DBAPIError) as raised:
        attempt(engine, statement)
    assert isinstance(raised.value.orig, psycopg2.Error)
    return raised.value.orig


@pytest.mark.parametrize(("statement", "guard"), VIOLATIONS)
def test_the_database_raises(guarded: Engine, statement: str, guard: str) -> None:
    error = error_of(guarded, statement)
    assert error.diag.constraint_name == guard
    assert isinstance(error, psycopg2.errors.ForeignKeyViolation) == guard.endswith("_fkey")


def test_every_guard_of_the_schema_is_tried(guarded: Engine) -> None:
    with guarded.connect() as connection:
        standing = set(connection.exec_driver_sql(READ_ALL_GUARDS).scalars())
    tried = {guard for _, guard in VIOLATIONS}
    assert tried == standing - RECORDERS - BEHIND_ANOTHER - {"alembic_version_pkc"}


def test_a_place_in_the_queue_cannot_be_chosen(guarded: Engine) -> None:
    chosen = purchase(seq="-1").replace("OVERRIDING SYSTEM VALUE", "")
    assert isinstance(error_of(guarded, chosen), psycopg2.errors.GeneratedAlways)


def test_issuing_and_withdrawing_is_recorded_by_the_database_itself(
    engine: Engine, settings: Settings
) -> None:
    sold = _sell(engine, settings)
    run(engine, "UPDATE ticket_inventory SET issued = issued + 20")
    run(
        engine,
        "WITH who AS (SELECT set_config('eventify.user_id', '7', true))"
        " UPDATE ticket_inventory SET issued = issued - 5 FROM who",
    )
    assert inventory(engine, sold)[0] == 17
    recorded = rows(
        engine, "SELECT change, after_decision, changed_by FROM inventory_changes ORDER BY id"
    )
    assert recorded == [(2, 0, None), (20, 2, None), (-5, 2, 7)]


def test_a_ticket_type_without_purchases_can_be_deleted_with_its_record(engine: Engine) -> None:
    add_ticket_type(engine, 5)
    run(engine, "DELETE FROM ticket_types")
    assert rows(engine, "SELECT * FROM inventory_changes") == []
    assert rows(engine, "SELECT * FROM ticket_inventory") == []


def test_a_ticket_type_is_kept_for_what_is_queued_and_for_what_was_decided(
    engine: Engine, settings: Settings
) -> None:
    ticket_type = add_ticket_type(engine, 5)
    queue(engine, [request(add_user(engine), ticket_type)])
    guard = "ticket_purchases_ticket_type_id_fkey"
    assert error_of(engine, "DELETE FROM ticket_types").diag.constraint_name == guard
    drain(engine, [ticket_type], settings, ignore)
    assert error_of(engine, "DELETE FROM ticket_types").diag.constraint_name == guard


def test_a_user_who_bought_nothing_can_be_deleted(engine: Engine) -> None:
    kept, gone = add_user(engine), add_user(engine)
    queue(engine, [request(kept, add_ticket_type(engine, 5))])
    run(engine, f"DELETE FROM users WHERE id = {gone}")
    assert rows(engine, f"SELECT id FROM users WHERE id IN ({kept}, {gone})") == [(kept,)]


# What a purchase refers to, and the rule that holds it there.
REFERRED_TO = [
    ("users", "ticket_purchases_user_id_fkey"),
    ("ticket_types", "ticket_purchases_ticket_type_id_fkey"),
]


@pytest.fixture
def unsold(engine: Engine) -> dict[str, int]:
    """A user who bought nothing, and a ticket type without purchases: their ids, by table."""
    return {"users": add_user(engine), "ticket_types": add_ticket_type(engine, 5)}


def first_purchase(unsold: dict[str, int]) -> str:
    values = {
        "id": "gen_random_uuid()",
        "user_id": str(unsold["users"]),
        "ticket_type_id": str(unsold["ticket_types"]),
        "quantity": "1",
        "unit_price": "1",
    }
    return insert("ticket_purchases", values)


def deletion(table: str, unsold: dict[str, int]) -> str:
    return f"DELETE FROM {table} WHERE id = {unsold[table]}"


def error_of_the_second(engine: Engine, first: str, second: str) -> psycopg2.Error:
    """How the second statement fails, which began before the first was committed."""

    def the_second_waits() -> None:
        assert rows(engine, "SELECT pid FROM pg_locks WHERE NOT granted")

    with ThreadPoolExecutor(1) as elsewhere, engine.begin() as connection:
        connection.exec_driver_sql(first)
        waiting = elsewhere.submit(run, engine, second)
        eventually(the_second_waits)
        connection.commit()
        with pytest.raises(DBAPIError) as raised:
            waiting.result()
    assert isinstance(raised.value.orig, psycopg2.Error)
    return raised.value.orig


@pytest.mark.parametrize(("table", "guard"), REFERRED_TO)
def test_nothing_is_deleted_beside_its_first_purchase(
    engine: Engine, unsold: dict[str, int], table: str, guard: str
) -> None:
    error = error_of_the_second(engine, first_purchase(unsold), deletion(table, unsold))
    assert error.diag.constraint_name == guard


@pytest.mark.parametrize(("table", "guard"), REFERRED_TO)
def test_nothing_is_bought_beside_the_deletion_of_its_user_or_its_ticket_type(
    engine: Engine, unsold: dict[str, int], table: str, guard: str
) -> None:
    error = error_of_the_second(engine, deletion(table, unsold), first_purchase(unsold))
    assert error.diag.constraint_name == guard


def test_a_ticket_type_without_purchases_can_move_to_another_event(engine: Engine) -> None:
    moved, elsewhere = add_ticket_type(engine, 5), add_ticket_type(engine, 5)
    move = (
        "UPDATE ticket_types SET event_id = (SELECT event_id FROM ticket_types WHERE id = :to)"
        " WHERE id = :id RETURNING event_id"
    )
    assert rows(engine, move, id=moved, to=elsewhere) == rows(
        engine, "SELECT event_id FROM ticket_types WHERE id = :id", id=elsewhere
    )


@pytest.mark.parametrize(
    "statement",
    [
        *(user(username=f"'{name}'") for name in ("zażółć.gęślą", "名前", "a@b+c-d_9", "ß")),
        user(email="'ana@example.com'"),
        event(start_time="'0001-01-01 00:00+00'"),
        event(end_time="'9999-12-31 23:59:59.999999+00'"),
        counted_ticket_type(issued="0"),
        counted_ticket_type(issued="1000000000"),
        purchase(unit_price="9999999999.99"),
    ],
)
def test_what_is_just_within_the_rules_is_stored(guarded: Engine, statement: str) -> None:
    attempt(guarded, statement)
