"""The database as last guard: what no code may do, no SQL can do either."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg2
import pytest
from psycopg2 import errors
from sqlalchemy import Engine, text
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.exc import DBAPIError

from gateway.accounts import store as accounts
from purchase_worker.audit.all_events import audit
from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE, open_engine
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_user,
    cart,
    counter,
    event_of,
    ignore,
    issue,
    outcomes,
    queue,
    queue_issue,
    request,
    rows,
    run,
)
from tests.support.servers import new_database
from tests.support.waiting import until_sessions_wait


@pytest.fixture(scope="module")
def guarded(postgres_url: str) -> Iterator[Engine]:
    """A database with a row of every kind: what raises changes none of them."""
    with new_database(postgres_url) as url:
        settings = Settings(database_url=url)
        engine = open_engine(settings, "test-guards")
        add_event(engine)
        assert _sell(engine, settings) == (FIRST, SECOND)
        _give_out_tokens(engine)
        yield engine
        engine.dispose()


# The ids of the ticket types in a new database (`make_template`).
FIRST, SECOND = 2001, 2002


def _sell(engine: Engine, settings: Settings) -> tuple[int, int]:
    """Two ticket types of one event.

    Its ledger: 3 and 9 issued, 1 of the first confirmed, a cart rejected. Its queue, of one user:
    to withdraw 1 of the first; 5 of the first, 1 of the first, a cart of 1 and 2.
    """
    buyer, first = add_user(engine), add_ticket_type(engine, 3, max_per_user=2)
    event = event_of(engine, first)
    second = add_ticket_type(engine, 9, event_id=event)
    run(engine, f"UPDATE events SET max_per_user = 4 WHERE id = {event}")
    queue(engine, [request(buyer, first, 1), cart(buyer, [(first, 2), (second, 1)])])
    drain(engine, [event], settings, ignore)
    both = cart(buyer, [(first, 1), (second, 2)])
    queue(engine, [request(buyer, first, 5, key="k"), request(buyer, first, 1), both])
    queue_issue(engine, first, -1)
    return first, second


def _give_out_tokens(engine: Engine) -> None:
    """A spent token and its successor; a revoked token."""
    holder, day, password_hash = add_user(engine), timedelta(days=1), "$argon2id$..."
    run(engine, f"UPDATE users SET password_hash = '{password_hash}' WHERE id = {holder}")
    first, other = (accounts.start_family(engine, holder, password_hash, day) for _ in range(2))
    assert first is not None
    assert other is not None
    accounts.spend(engine, first.id, lifetime=day, retry_window=timedelta(0))
    accounts.revoke(engine, other.id)


def insert(table: str, values: dict[str, str]) -> str:
    """A row of SQL expressions; an id may be given where the database makes them."""
    row = f"({', '.join(values)}) OVERRIDING SYSTEM VALUE SELECT {', '.join(values.values())}"
    return f"INSERT INTO {table} {row}"


def user(**changes: str) -> str:
    return insert("users", {"username": "'somebody'"} | changes)


def once_more(**changes: str) -> str:
    """An `Idempotency-Key` of a request that is no command."""
    values = {"user_id": "(SELECT min(id) FROM users)", "key": "'k'", "fingerprint": "'f'"}
    return insert("idempotency_keys", values | {"row_id": "1"} | changes)


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


def key(**changes: str) -> str:
    """Two keys of a user."""
    values = {
        "user_id": "(SELECT min(id) FROM users)",
        "name": "'Shop'",
        "scopes": "'{read}'",
        "hash": "sha256(n::text::bytea)",
    }
    return insert("api_keys", values | changes) + " FROM generate_series(1, 2) n"


def webhook(**changes: str) -> str:
    values = {
        "id": "1",
        "user_id": "(SELECT min(id) FROM users)",
        "url": "'https://shop.example/'",
        "kinds": "'{confirmed}'",
    }
    return insert("webhooks", values | changes)


def of_webhook(table: str, **changes: str) -> str:
    """A row of a webhook."""
    required = {
        "webhook_secrets": {"secret": "sha256('secret')"},
        "webhook_cursors": {"event_id": "1"},
        "webhook_deliveries": {"delivery_id": "gen_random_uuid()", "milliseconds": "1"},
    }
    row = insert(table, {"webhook_id": "1"} | required[table] | changes)
    return f"{webhook()}; {row}"


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


def pause(**changes: str) -> str:
    """The same moment twice."""
    values = {"ticket_type_id": str(FIRST), "at": "now()", "paused": "true"}
    return insert("sale_pauses", values | changes) + " FROM generate_series(1, 2) n"


def refusal(*, n: str = "1", **changes: str) -> str:
    """As many times as there are numbers `n`."""
    values = {
        "event_id": "(SELECT min(id) FROM events)",
        "at": "now()",
        "step_seconds": "2",
        "code": "'sale_closed'",
        "count": "1",
    }
    return insert("edge_refusals", values | changes) + f" FROM unnest(ARRAY[{n}]) n"


def an_audit(*, n: str = "1", **changes: str) -> str:
    """As many times as there are numbers `n`."""
    values = {"event_id": "(SELECT min(id) FROM events)"}
    return insert("audits", values | changes) + f" FROM unnest(ARRAY[{n}]) n"


def purchase(**changes: str) -> str:
    """A purchase of the same buyer and ticket type as an earlier one."""
    values = {
        "id": "gen_random_uuid()",
        "event_id": "event_id",
        "user_id": "user_id",
        "ticket_type_id": "ticket_type_id",
        "quantity": "1",
        "unit_price": "1",
        "currency": "'EUR'",
    }
    return insert("requests", values | changes) + " FROM requests WHERE quantity = 5"


def cart_of(**changes: object) -> str:
    """The purchase of a cart; changes are of its first line."""
    second = {"ticket_type": SECOND, "quantity": 2, "unit_price": "1.00", "user_limit": None}
    first = second | {"ticket_type": FIRST} | changes
    without = dict.fromkeys(("ticket_type_id", "quantity", "unit_price"), "NULL")
    # As psycopg2 wants it, a colon or percent sign in it means nothing.
    return purchase(**without, items=f"'{json.dumps([first, second])}'")


def entry(which: str = "quantity = 5", batch: dict[str, str] | None = None, **changes: str) -> str:
    """The right entry of a queued request, with its batch, were it not for the changes."""
    of_batch = {
        "event_id": "event_id",
        "first_number": "5",
        "last_number": "5",
        "at": "now()",
        "seen": "pg_current_snapshot()",
        "decided_by": "'test'",
    }
    of_entry = {
        "event_id": "r.event_id",
        "number": "5",
        "command_id": "r.id",
        "ticket_type_id": "r.ticket_type_id",
        "kind": "'rejected'",
        "reason": "'not_enough_tickets'",
        "change": "0",
        "left_after": "2",
    }
    recorded = insert("batches", of_batch | (batch or {})) + " FROM requests WHERE quantity = 5"
    written = insert("ledger", of_entry | changes)
    return (
        f"WITH batch AS ({recorded}) {written}"
        f" FROM requests r JOIN work_list ON command_id = r.id WHERE {which}"
    )


def smaller(**changes: str) -> str:
    """The right entry of a purchase of one ticket."""
    right = {"kind": "'confirmed'", "reason": "NULL", "change": "-1", "left_after": "1"}
    return entry("r.quantity = 1 AND kind = 'buy'", **right | changes)


def withdrawal(**changes: str) -> str:
    right = {"kind": "'withdrawn'", "reason": "NULL", "change": "-1", "left_after": "1"}
    return entry("kind = 'withdraw'", **right | changes)


def of_cart(*lines: tuple[int, int], **changes: str) -> str:
    """The change of each line, and what is left; right are -1 and 1, -2 and 7."""
    built = ", ".join(
        f"jsonb_build_object('ticket_type', r.items->{nth}->'ticket_type', 'change', {change},"
        f" 'left_after', {left_after})"
        for nth, (change, left_after) in enumerate(lines)
    )
    right = dict.fromkeys(("reason", "ticket_type_id", "change", "left_after"), "NULL")
    right |= {"kind": "'confirmed'", "items": f"jsonb_build_array({built})"}
    return entry("items IS NOT NULL", **right | changes)


def record(**changes: str) -> str:
    """A batch without entries."""
    return entry("false", batch=changes)


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
    (user(issuer="'https://id.example'"), "users_subject_of_issuer"),
    (user(issuer="'https://id.example'", subject="''"), "users_subject_length"),
    (
        (
            "INSERT INTO users (username, issuer, subject)"
            " SELECT 'guest' || n, 'https://id.example', 'ana' FROM generate_series(1, 2) n"
        ),
        "users_subject_key",
    ),
    ("INSERT INTO token_cutoffs SELECT 1 FROM generate_series(1, 2)", "token_cutoffs_pkey"),
    ("UPDATE users SET id = DEFAULT", "users_id_frozen"),
    (snapshot("DELETE FROM users WHERE id = 0"), "users_read_committed"),
    ("TRUNCATE users CASCADE", "users_never_truncated"),
]
KEYS = [
    (key(id="1"), "api_keys_pkey"),
    (key(user_id="0"), "api_keys_user_id_fkey"),
    (key(name="''"), "api_keys_name_length"),
    (key(scopes="'{}'"), "api_keys_scopes_known"),
    (key(scopes="'{sell}'"), "api_keys_scopes_known"),
    (key(hash="'short'"), "api_keys_hashed"),
    (key(hash="sha256('key')"), "api_keys_hash"),
    (key(expires_at="now()"), "api_keys_expires_after_creation"),
    ("DELETE FROM api_keys", "api_keys_kept"),
    ("TRUNCATE api_keys", "api_keys_kept"),
    (once_more(user_id="0"), "idempotency_keys_user_id_fkey"),
    (once_more(key="''"), "idempotency_keys_length"),
    (f"{once_more()}; {once_more()}", "idempotency_keys_pkey"),
]
WEBHOOKS = [
    (f"{webhook()}; {webhook()}", "webhooks_pkey"),
    (webhook(user_id="0"), "webhooks_user_id_fkey"),
    (webhook(url="''"), "webhooks_url_length"),
    (webhook(kinds="'{}'"), "webhooks_kinds_some"),
    (webhook(disabled_at="now()"), "webhooks_disabled_for_a_reason"),
    (webhook(disabled_at="now()", disabled_reason="'bored'"), "webhooks_disabled_for_a_reason"),
    (of_webhook("webhook_secrets", secret="'short'"), "webhook_secrets_length"),
    (of_webhook("webhook_secrets", id="1 FROM generate_series(1, 2)"), "webhook_secrets_pkey"),
    (of_webhook("webhook_secrets", webhook_id="0"), "webhook_secrets_webhook_id_fkey"),
    (
        of_webhook("webhook_cursors", event_id="1 FROM generate_series(1, 2)"),
        "webhook_cursors_pkey",
    ),
    (of_webhook("webhook_cursors", webhook_id="0"), "webhook_cursors_webhook_id_fkey"),
    (of_webhook("webhook_cursors", number="-1"), "webhook_cursors_number_not_negative"),
    (of_webhook("webhook_cursors", sending_to="1"), "webhook_cursors_sending"),
    (
        of_webhook("webhook_cursors", number="1", sending_id="gen_random_uuid()", sending_to="0"),
        "webhook_cursors_sending",
    ),
    (of_webhook("webhook_cursors", failures="1"), "webhook_cursors_failures"),
    (
        of_webhook("webhook_deliveries", id="1 FROM generate_series(1, 2)"),
        "webhook_deliveries_pkey",
    ),
    (of_webhook("webhook_deliveries", webhook_id="0"), "webhook_deliveries_webhook_id_fkey"),
    ("INSERT INTO ledger_epoch SELECT * FROM ledger_epoch", "ledger_epoch_pkey"),
    ("UPDATE ledger_epoch SET id = false", "ledger_epoch_one"),
    ("UPDATE ledger_epoch SET epoch = 'new'", "ledger_epoch_form"),
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
    (event(currency="'eur'"), "events_currency_form"),
    (event(max_per_user="0"), "events_max_per_user_positive"),
    (event(payment_url="''"), "events_payment_url_form"),
    (event(payment_url="'javascript:alert(1)'"), "events_payment_url_form"),
    (event(payment_url="'https://shop.example/a b'"), "events_payment_url_form"),
    (event(payment_url=r"'https://shop.example\@evil.example/'"), "events_payment_url_form"),
    (event(payment_url="repeat('https://a.', 201)"), "events_payment_url_length"),
    (event(notice="repeat('x', 501)"), "events_notice_length"),
    ("UPDATE events SET id = DEFAULT", "events_id_frozen"),
    ("DELETE FROM events", "ticket_types_with_purchases_kept"),
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
    (ticket_type(hold_seconds="29"), "ticket_types_hold_seconds_bounded"),
    (ticket_type(hold_seconds="7201"), "ticket_types_hold_seconds_bounded"),
    (ticket_type(sales_start="'-infinity'"), "ticket_types_sales_start_writable"),
    (ticket_type(sales_end="'infinity'"), "ticket_types_sales_end_writable"),
    (ticket_type(paused_at="'infinity'"), "ticket_types_paused_at_writable"),
    (ticket_type(sales_start="now()", sales_end="now()"), "ticket_types_sales_end_after_start"),
    (
        "UPDATE ticket_types SET event_id = (SELECT min(id) FROM events)",
        "ticket_types_with_purchases_stay",
    ),
    ("UPDATE ticket_types SET id = DEFAULT", "ticket_types_id_frozen"),
    ("DELETE FROM ticket_types", "ticket_types_with_purchases_kept"),
    (snapshot("DELETE FROM ticket_types WHERE id = 0"), "ticket_types_read_committed"),
    (snapshot("UPDATE ticket_types SET event_id = event_id"), "ticket_types_read_committed"),
    ("TRUNCATE ticket_types CASCADE", "ticket_types_never_truncated"),
    (f"SELECT eventify_issue({FIRST}, -3)", "counters_never_oversold"),
    (f"SELECT eventify_issue({FIRST}, 1000000000)", "counters_left_bounded"),
]
KEPT = [
    ("UPDATE requests SET quantity = 9", "requests_insert_only"),
    ("UPDATE requests SET user_id = 0 WHERE false", "requests_insert_only"),
    ("DELETE FROM requests", "requests_insert_only"),
    ("TRUNCATE requests", "requests_insert_only"),
    ("UPDATE ledger SET left_after = 9", "ledger_insert_only"),
    ("DELETE FROM ledger", "ledger_insert_only"),
    ("TRUNCATE ledger", "ledger_insert_only"),
    ("UPDATE batches SET last_number = 9", "batches_insert_only"),
    ("DELETE FROM batches", "batches_insert_only"),
    ("TRUNCATE batches", "batches_insert_only"),
    ("INSERT INTO work_list SELECT event_id, 1, 99, command_id FROM work_list", "work_list_kept"),
    ("UPDATE work_list SET seq = seq + 1", "work_list_kept"),
    ("DELETE FROM work_list", "work_list_kept"),
    ("TRUNCATE work_list", "work_list_never_truncated"),
    ("INSERT INTO holds SELECT event_id, id, now() FROM requests", "holds_kept"),
    ("UPDATE holds SET ends_at = now()", "holds_kept"),
    ("DELETE FROM holds", "holds_kept"),
    ("TRUNCATE holds", "holds_never_truncated"),
    ("INSERT INTO lanes VALUES (0)", "lanes_kept"),
    ("UPDATE lanes SET number = number + 1", "lanes_kept"),
    ("UPDATE lanes SET done_seq = 99", "lanes_kept"),
    ("DELETE FROM lanes", "lanes_kept"),
    ("TRUNCATE lanes", "lanes_never_truncated"),
    ("INSERT INTO counters SELECT event_id, 0 FROM counters", "counters_kept"),
    ("UPDATE counters SET sold = sold - 1", "counters_kept"),
    ("UPDATE counters SET issued = issued + 1", "counters_kept"),
    ("DELETE FROM counters", "counters_kept"),
    ("TRUNCATE counters", "counters_never_truncated"),
    ("DELETE FROM users", "users_with_requests_kept"),
]
ACCEPTANCES = [
    (purchase(id="id"), "requests_pkey"),
    (purchase(user_id="0"), "requests_user_id_fkey"),
    (purchase(ticket_type_id="0"), "requests_ticket_type_id_fkey"),
    (purchase(event_id="(SELECT min(id) FROM events)"), "requests_ticket_type_id_fkey"),
    (purchase(quantity="0"), "requests_quantity_positive"),
    (purchase(unit_price="-1"), "requests_unit_price_not_negative"),
    (purchase(unit_price="'NaN'"), "requests_unit_price_not_negative"),
    (purchase(user_limit="0"), "requests_user_limits_positive"),
    (purchase(hold_seconds="0"), "requests_hold_seconds_positive"),
    (purchase(buyer="repeat('b', 256)"), "requests_buyer_length"),
    (purchase(note="''"), "requests_note_length"),
    (purchase(payment_reference="''"), "requests_payment_reference_length"),
    (purchase(event_user_limit="0"), "requests_user_limits_positive"),
    (purchase(idempotency_key="''", fingerprint="'f'"), "requests_key_length"),
    (purchase(idempotency_key="repeat('k', 256)", fingerprint="'f'"), "requests_key_length"),
    (purchase(idempotency_key="'key'"), "requests_key_has_fingerprint"),
    (purchase(fingerprint="'f'"), "requests_key_has_fingerprint"),
    (purchase(idempotency_key="'k'", fingerprint="'f'"), "requests_idempotency"),
    (purchase(currency="NULL"), "requests_terms"),
    (purchase(user_id="NULL"), "requests_terms"),
    (purchase(unit_price="NULL"), "requests_terms"),
    (purchase(kind="'issue'"), "requests_terms"),
    (purchase(quantity="NULL"), "requests_lines"),
    (purchase(items="'[]'"), "requests_lines"),
    (purchase(created_at="now() - interval '1 hour'"), "requests_accepted_now"),
    (purchase(created_at="'infinity'"), "requests_accepted_now"),
    (purchase(accepted_xid="'3'"), "requests_accepted_now"),
    (snapshot(purchase()), "requests_read_committed"),
    (cart_of(ticket_type=0), "requests_ticket_type_id_fkey"),
    (cart_of(ticket_type=None), "requests_ticket_type_id_fkey"),
    (cart_of(ticket_type=SECOND), "requests_items"),
    (cart_of(quantity=0), "requests_items"),
    (cart_of(quantity=-5), "requests_items"),
    (cart_of(quantity=None), "requests_items"),
    (cart_of(quantity=1_000_001), "requests_items"),
    (cart_of(unit_price="-1"), "requests_items"),
    (cart_of(unit_price="NaN"), "requests_items"),
    (cart_of(unit_price=None), "requests_items"),
    (cart_of(user_limit=0), "requests_items"),
]
ANSWERS = [
    (entry(command_id="gen_random_uuid()"), "ledger_answers"),
    (entry(command_id="(SELECT command_id FROM ledger WHERE number = 3)"), "ledger_one_answer"),
    (entry(event_id="(SELECT min(id) FROM events)"), "ledger_answers"),
    (entry(ticket_type_id=str(SECOND)), "ledger_answers"),
    (entry(reason="NULL"), "ledger_reason"),
    (entry(change="-1"), "ledger_change_of_kind"),
    (entry(change="NULL"), "ledger_lines"),
    (entry(items="'[]'"), "ledger_lines"),
    (entry(left_after="-1"), "ledger_left_not_negative"),
    (entry(left_after="5"), "ledger_answers"),
    (entry(kind="'refused'"), "ledger_answers"),
    (entry(kind="'issued'", reason="NULL", change="5"), "ledger_answers"),
    (
        entry(kind="'confirmed'", reason="NULL", change="-5", left_after="0"),
        "counters_never_oversold",
    ),
    (entry(reason="'over_user_limit'"), "ledger_answers"),
    (smaller(change="1"), "ledger_change_of_kind"),
    (smaller(change="-2"), "ledger_answers"),
    (smaller(left_after="2"), "ledger_counted"),
    (
        smaller(kind="'rejected'", reason="'not_enough_tickets'", change="0", left_after="1"),
        "ledger_answers",
    ),
    (
        smaller(kind="'rejected'", reason="'not_enough_tickets'", change="0", left_after="0"),
        "ledger_counted",
    ),
    (withdrawal(change="-2"), "ledger_answers"),
    (withdrawal(left_after="2"), "ledger_counted"),
    (withdrawal(kind="'issued'", change="1"), "ledger_answers"),
    (withdrawal(kind="'confirmed'"), "ledger_answers"),
    (
        withdrawal(kind="'refused'", reason="'not_enough_tickets'", change="0", left_after="1"),
        "ledger_answers",
    ),
    (
        withdrawal(kind="'refused'", reason="'over_user_limit'", change="0", left_after="0"),
        "ledger_answers",
    ),
    (
        withdrawal(kind="'refused'", reason="'not_enough_tickets'", change="0", left_after="0"),
        "ledger_counted",
    ),
    (of_cart((-1, 1), (-1, 8)), "ledger_answers"),
    (of_cart((-1, 1), (0, 9)), "ledger_answers"),
    (of_cart((-1, -1), (-2, 7)), "ledger_answers"),
    (of_cart((-1, 1)), "ledger_answers"),
    (of_cart((-1, 1), (-2, 7), (-1, 6)), "ledger_answers"),
    (of_cart(), "ledger_answers"),
    (of_cart(items="r.items"), "ledger_answers"),
    (of_cart((-1, 1), (-2, 7), kind="'issued'"), "ledger_answers"),
    (
        of_cart((0, 1), (0, 9), kind="'rejected'", reason="'not_enough_tickets'"),
        "ledger_answers",
    ),
    (of_cart((0, 0), (0, 9), kind="'rejected'", reason="'over_user_limit'"), "ledger_answers"),
    (of_cart((-1, 1), (-2, 8)), "ledger_counted"),
]
NUMBERS = [
    (entry(number="0"), "ledger_number_positive"),
    (entry(number="4"), "ledger_pkey"),
    (entry(number="6"), "ledger_numbered"),
    (entry(batch={"last_number": "6"}), "ledger_numbered"),
    (entry(batch={"first_number": "4"}), "ledger_numbered"),
    (entry(batch={"at": "now() - interval '1 hour'"}), "ledger_numbered"),
    # after the last batch, yet before the request was accepted
    (entry(batch={"at": "(SELECT max(at) FROM lanes)"}), "ledger_numbered"),
    (entry(batch={"ticket_type_id": str(FIRST)}), "batches_follow"),
    (entry(batch={"first_number": "3"}), "batches_pkey"),
    (entry(batch={"first_number": "0"}), "batches_numbers"),
    (entry(batch={"last_number": "4"}), "batches_numbers"),
    (record(), "batches_follow"),
    (record(first_number="4", last_number="4"), "batches_follow"),
]
LIVE = [
    (pause(), "sale_pauses_pkey"),
    (pause(ticket_type_id="-n"), "sale_pauses_ticket_type_id_fkey"),
    (refusal(n="1, 2"), "edge_refusals_pkey"),
    (refusal(event_id="0"), "edge_refusals_event_id_fkey"),
    (refusal(code="'anything'"), "edge_refusals_code_known"),
    (refusal(count="0"), "edge_refusals_count_positive"),
    (refusal(step_seconds="1"), "edge_refusals_step_known"),
    (an_audit(id="1", status="'passed'", finished_at="now()", n="1, 2"), "audits_pkey"),
    (an_audit(n="1, 2"), "audits_one_for_an_event"),
    (an_audit(event_id="0"), "audits_event_id_fkey"),
    (an_audit(status="'bored'"), "audits_status_known"),
    (an_audit(status="'passed'"), "audits_finished"),
    (an_audit(status="'running'"), "audits_leased"),
    (
        (
            "INSERT INTO full_audits (id, violations, entries, seconds) OVERRIDING SYSTEM VALUE"
            " VALUES (1, 0, 0, 0), (1, 0, 0, 0)"
        ),
        "full_audits_pkey",
    ),
    (
        "INSERT INTO full_audits (violations, entries, seconds) VALUES (-1, 0, 0)",
        "full_audits_violations_not_negative",
    ),
    (an_audit(findings="array_fill('x'::text, ARRAY[21])"), "audits_findings_bounded"),
]
VIOLATIONS = [
    *ACCOUNTS,
    *KEYS,
    *WEBHOOKS,
    *TOKENS,
    *EVENTS,
    *TICKET_TYPES,
    *KEPT,
    *ACCEPTANCES,
    *ANSWERS,
    *NUMBERS,
    *LIVE,
]
RIGHT = [
    entry(),
    smaller(),
    withdrawal(),
    of_cart((-1, 1), (-2, 7)),
    purchase(unit_price="9999999999.99"),
    cart_of(),
    cart_of(quantity=1_000_000, unit_price="0.00", user_limit=1),
]
# These raise under the names of rules, or write what follows.
WRITERS = {
    "api_keys_marked",
    "events_open_lane",
    "events_owner_lives",
    "events_set_updated_at",
    "ledger_apply",
    "requests_accept",
    "ticket_types_issue_moved",
    "ticket_types_open_counter",
    "ticket_types_record_pause",
    "ticket_types_set_updated_at",
    "token_cutoffs_marked",
}
RULES = {
    "counters_left_bounded",
    "ledger_answers",
    "ledger_counted",
    "ledger_numbered",
    "requests_accepted_now",
    "requests_items",
    "requests_ticket_type_id_fkey",
    "requests_user_id_fkey",
}
# Another guard raises before these.
BEHIND_ANOTHER = {
    "counters_pkey",
    "counters_ticket_type_id_fkey",
    "holds_pkey",
    "lanes_number_not_negative",
    "lanes_pkey",
    "ticket_types_of_event",
    "work_list_class_known",
    "work_list_pkey",
}
# They fire where no other trigger does.
OF_REPLICAS = {
    "requests_not_as_replica": insert("requests", {"user_id": "1"}),
    "ledger_not_as_replica": insert("ledger", {"event_id": "1"}),
    "events_not_as_replica": "UPDATE events SET title = 'Another'",
    "ticket_types_not_as_replica": "DELETE FROM ticket_types",
    "api_keys_not_as_replica": "UPDATE api_keys SET revoked_at = now()",
    "token_cutoffs_not_as_replica": "DELETE FROM token_cutoffs",
}
FOREIGN_KEYS = ("_fkey", "with_purchases_kept", "with_requests_kept")
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
    assert isinstance(error, psycopg2.errors.ForeignKeyViolation) == guard.endswith(FOREIGN_KEYS)


def test_every_guard_of_the_schema_is_tried(guarded: Engine) -> None:
    with guarded.connect() as connection:
        standing = set(connection.exec_driver_sql(READ_ALL_GUARDS).scalars())
    tried = {guard for _, guard in VIOLATIONS}
    others = WRITERS | BEHIND_ANOTHER | OF_REPLICAS.keys() | {"alembic_version_pkc"}
    assert tried - RULES == standing - others


@pytest.mark.parametrize("statement", OF_REPLICAS.values(), ids=OF_REPLICAS)
@pytest.mark.parametrize("service", ["gateway", "catalog", "worker", "sweeper", "operator"])
def test_no_service_writes_where_no_trigger_fires(
    guarded: Engine, service: str, statement: str
) -> None:
    with guarded.connect() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql(f"SET LOCAL application_name = 'eventify-{service}'")
        with pytest.raises(DBAPIError) as raised:
            connection.exec_driver_sql(statement)
    assert isinstance(raised.value.orig, errors.ReadOnlySqlTransaction)


def test_a_bulk_load_writes_where_no_trigger_fires(guarded: Engine) -> None:
    with guarded.connect() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        assert connection.exec_driver_sql(OF_REPLICAS["events_not_as_replica"]).rowcount > 0


def test_what_was_queued_is_decided_once_triggers_fire_again(
    engine: Engine, settings: Settings
) -> None:
    """It was decided without them once, and its lane stood still for good."""
    ticket_type = add_ticket_type(engine, 1)
    event = event_of(engine, ticket_type)
    (id_,) = queue(engine, [request(add_user(engine), ticket_type)])
    worker = open_engine(settings, "worker")

    @sqlalchemy_event.listens_for(worker, "connect")
    def as_replica(plain: psycopg2.extensions.connection, _record: object) -> None:
        with plain.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
        plain.commit()

    with pytest.raises(DATABASE_UNAVAILABLE):
        drain(worker, [event], settings, ignore)
    worker.dispose()
    assert drain(engine, [event], settings, ignore).decided == 1
    assert outcomes(engine, ticket_type) == [(id_, "confirmed", None)]
    assert audit(engine, settings).ok


def test_a_place_in_the_queue_cannot_be_chosen(guarded: Engine) -> None:
    chosen = purchase(seq="-1").replace("OVERRIDING SYSTEM VALUE", "")
    assert isinstance(error_of(guarded, chosen), psycopg2.errors.GeneratedAlways)


@pytest.mark.parametrize("statement", RIGHT)
def test_what_is_right_is_written(guarded: Engine, statement: str) -> None:
    with guarded.connect() as connection:
        assert connection.exec_driver_sql(statement).rowcount == 1
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")


def test_tickets_issued_and_withdrawn_by_sql_alone_are_entries_in_nobodys_name(
    engine: Engine,
) -> None:
    ticket_type = add_ticket_type(engine, 5)
    issue(engine, ticket_type, 20)
    run(engine, "DELETE FROM ticket_types")
    written = rows(
        engine,
        "SELECT e.number, e.ticket_type_id, e.kind::text, e.change, e.left_after, r.user_id"
        " FROM ledger e JOIN requests r ON r.id = e.command_id ORDER BY e.number",
    )
    assert written == [
        (1, ticket_type, "issued", 5, 5, None),
        (2, ticket_type, "issued", 20, 25, None),
        (3, ticket_type, "withdrawn", -25, 0, None),
    ]
    assert rows(engine, "SELECT * FROM counters") == []


def test_a_ticket_type_is_kept_for_what_is_queued_and_for_what_was_decided(
    engine: Engine, settings: Settings
) -> None:
    ticket_type = add_ticket_type(engine, 5)
    event = event_of(engine, ticket_type)
    in_a_cart = add_ticket_type(engine, 5, event_id=event)
    lines = [(ticket_type, 1), (in_a_cart, 1)]
    queue(engine, [cart(add_user(engine), lines)])

    def assert_kept() -> None:
        for id_ in (ticket_type, in_a_cart):
            error = error_of(engine, f"DELETE FROM ticket_types WHERE id = {id_}")
            assert error.diag.constraint_name == "ticket_types_with_purchases_kept"

    assert_kept()
    drain(engine, [event], settings, ignore)
    assert_kept()


def test_a_user_who_bought_nothing_can_be_deleted(engine: Engine) -> None:
    kept, gone = add_user(engine), add_user(engine)
    queue(engine, [request(kept, add_ticket_type(engine, 5))])
    run(engine, f"DELETE FROM users WHERE id = {gone}")
    assert rows(engine, f"SELECT id FROM users WHERE id IN ({kept}, {gone})") == [(kept,)]


# What a purchase refers to, the rule that holds it there, and that which needs it to be there.
REFERRED_TO = [
    ("users", "users_with_requests_kept"),
    ("ticket_types", "ticket_types_with_purchases_kept"),
]


@pytest.fixture
def unsold(engine: Engine) -> dict[str, int]:
    """A user who bought nothing, and a ticket type without purchases: their ids, by table."""
    return {"users": add_user(engine), "ticket_types": add_ticket_type(engine, 5)}


def first_purchase(unsold: dict[str, int]) -> str:
    values = {
        "id": "gen_random_uuid()",
        "event_id": "event_id",
        "user_id": str(unsold["users"]),
        "ticket_type_id": "id",
        "quantity": "1",
        "unit_price": "1",
        "currency": "'EUR'",
    }
    return insert("requests", values) + f" FROM ticket_types WHERE id = {unsold['ticket_types']}"


def deletion(table: str, unsold: dict[str, int]) -> str:
    return f"DELETE FROM {table} WHERE id = {unsold[table]}"


def error_of_the_second(engine: Engine, first: str, second: str) -> psycopg2.Error:
    """How the second statement fails, which began before the first was committed."""
    with ThreadPoolExecutor(1) as elsewhere, engine.begin() as connection:
        connection.exec_driver_sql(first)
        waiting = elsewhere.submit(run, engine, second)
        until_sessions_wait(engine)
        connection.commit()
        with pytest.raises(DBAPIError) as raised:
            waiting.result()
    assert isinstance(raised.value.orig, psycopg2.Error)
    return raised.value.orig


@pytest.mark.parametrize(("table", "kept"), REFERRED_TO)
def test_nothing_is_deleted_beside_its_first_purchase(
    engine: Engine, unsold: dict[str, int], table: str, kept: str
) -> None:
    error = error_of_the_second(engine, first_purchase(unsold), deletion(table, unsold))
    assert error.diag.constraint_name == kept


def test_nothing_is_bought_beside_the_deletion_of_its_user(
    engine: Engine, unsold: dict[str, int]
) -> None:
    error = error_of_the_second(engine, deletion("users", unsold), first_purchase(unsold))
    assert error.diag.constraint_name == "requests_user_id_fkey"


def test_nothing_is_bought_beside_the_deletion_of_its_ticket_type(
    engine: Engine, unsold: dict[str, int]
) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(deletion("ticket_types", unsold))
        # It does not wait: purchases of other ticket types may be beside it.
        with pytest.raises(DBAPIError) as raised:
            run(engine, first_purchase(unsold))
        assert isinstance(raised.value.orig, errors.LockNotAvailable)


def test_ticket_types_without_purchases_can_move_to_another_event(
    engine: Engine, settings: Settings
) -> None:
    """Withdrawn there and issued here: each as many as there are, whatever else was changed."""
    moved, changed, elsewhere = (add_ticket_type(engine, n) for n in (5, 4, 3))
    there = event_of(engine, moved)
    here = event_of(engine, elsewhere)
    run(engine, f"UPDATE ticket_types SET event_id = {there} WHERE id = {changed}")
    with engine.begin() as connection:
        connection.execute(text(f"SELECT eventify_issue({changed}, -4)"))
        connection.execute(
            text(f"UPDATE ticket_types SET event_id = {here} WHERE id IN ({moved}, {changed})")
        )
    assert [counter(engine, id_) for id_ in (moved, changed, elsewhere)] == [(5, 0), (0, 0), (3, 0)]
    assert {event_of(engine, id_) for id_ in (moved, changed, elsewhere)} == {here}
    assert audit(engine, settings).ok


@pytest.mark.parametrize(
    "statement",
    [
        *(user(username=f"'{name}'") for name in ("zażółć.gęślą", "名前", "a@b+c-d_9", "ß")),
        user(email="'ana@example.com'"),
        event(start_time="'0001-01-01 00:00+00'"),
        event(end_time="'9999-12-31 23:59:59.999999+00'"),
        f"SELECT eventify_issue({FIRST}, 999999998)",
        f"SELECT eventify_issue({FIRST}, -2)",
    ],
)
def test_what_is_just_within_the_rules_is_stored(guarded: Engine, statement: str) -> None:
    attempt(guarded, statement)
