"""The audit: an honest sale passes, and each way of tampering with the rows is caught."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, make_url, text

from deploy.database import database
from gateway.purchases import store as gateway_store
from purchase_worker.audit import by_holder, read
from purchase_worker.audit.all_events import audit
from purchase_worker.audit.guards import GUARDS, standing_guards
from purchase_worker.drain import drain
from shared.config.database_url import with_login
from shared.config.settings import Settings
from shared.database import transaction_ids
from shared.database.engine import cursor_transaction, open_engine
from shared.database.rights import READER, WORKER
from shared.database.transaction_ids import pass_stored_transaction_ids
from shared.errors import ConfigurationError
from tests.support.factories import (
    LIMITS,
    add_ticket_type,
    add_user,
    add_users,
    cart,
    event_of,
    ignore,
    issue,
    queue,
    queue_buy,
    queue_issue,
    request,
    rows,
    run,
    scalar,
    tamper,
)
from tests.support.tampering import asked, broken, entry
from tests.support.waiting import eventually


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> int:
    """An event with every outcome, in several batches and carts, and one purchase still queued.

    1 and 2: issued; 3 to 10: four purchases of two confirmed, four rejected; 11 and 12: more of
    both issued and one withdrawn; 13 to 18: carts confirmed, too large, and beyond both limits.
    """
    standing = add_ticket_type(engine, 8, max_per_user=4)
    event = event_of(engine, standing)
    seat = add_ticket_type(engine, 6, event_id=event, name="Seat")
    run(engine, f"UPDATE events SET max_per_user = 5 WHERE id = {event}")
    small = settings.model_copy(update={"drain_batch_rows": 3})
    users = add_users(engine, 8)
    queue(engine, [request(user, standing, 2) for user in users])
    drain(engine, [event], small, ignore)
    issue(engine, standing, 7)
    issue(engine, standing, -1)
    queue(
        engine,
        [
            cart(users[4], [(standing, 1), (seat, 2)]),
            cart(users[5], [(seat, 5), (standing, 1)]),
            cart(users[0], [(standing, 3), (seat, 1)]),
            cart(users[4], [(seat, 2), (standing, 1)]),
            request(users[1], standing, 2),
            cart(users[7], [(seat, 1), (standing, 1)]),
        ],
    )
    drain(engine, [event], small, ignore)
    queue(engine, [request(users[7], standing, 1)])
    return event


def test_an_honest_sale_passes(engine: Engine, settings: Settings, sale: int) -> None:
    report = audit(engine, settings)
    assert broken(report) == set()
    assert report.ok
    assert (report.issued, report.sold, report.left) == (20, 15, 5)
    assert (report.confirmed, report.rejected, report.queued) == (7, 7, 1)
    reasons = {row[0] for row in rows(engine, "SELECT DISTINCT reason FROM ledger")}
    assert reasons == {None, "not_enough_tickets", "over_user_limit"}


def test_an_empty_database_passes(engine: Engine, settings: Settings) -> None:
    assert audit(engine, settings).ok


def batch(last_number: int, change: str) -> str:
    return f"UPDATE batches SET {change} WHERE last_number = {last_number}"


def waits(change: str) -> str:
    """The request that is still queued, and its row of the work list."""
    return (
        f"WITH waiting AS (UPDATE work_list SET {change} RETURNING command_id)"
        f" UPDATE requests SET {change} FROM waiting WHERE id = command_id"
    )


def in_items(line: int, key: str, value: int) -> str:
    return f"items = jsonb_set(items, '{{{line}, {key}}}', '{value}')"


ENTRY = "event_id, number, command_id, kind, reason, ticket_type_id, change, left_after, items"
ADDED = """
INSERT INTO ledger (event_id, number, command_id, kind, ticket_type_id, change, left_after)
SELECT event_id, 19, {command}, 'confirmed', min(ticket_type_id), -1, 0 FROM ledger
GROUP BY event_id
"""
WAITS_TWICE = """
INSERT INTO work_list SELECT event_id, 1, {seq}, id FROM requests
WHERE id = (SELECT command_id FROM ledger WHERE number = {number})
"""
EVERY_ENTRY_IN_TWO_BATCHES = """
INSERT INTO batches SELECT event_id, 4, 18, at, seen, 'forged' FROM batches WHERE first_number = 3
"""
TWO_OF_ONE_BATCH_EXCHANGED = """
UPDATE requests SET seq = other.seq FROM ledger e, ledger o, requests other
WHERE requests.id = e.command_id AND other.id = o.command_id
  AND (e.number, o.number) IN ((3, 4), (4, 3))
"""
ONE_USER_FOR_TWO = """
UPDATE requests SET user_id = (SELECT min(user_id) FROM requests WHERE kind = 'buy')
WHERE id IN (SELECT command_id FROM ledger WHERE number < 7) AND kind = 'buy'
"""
# It sees its rows, but not all that the batch before it saw.
DENIES_WHAT_WAS_SEEN = "seen = ('3:' || pg_snapshot_xmax(seen) || ':3')::pg_snapshot"
SEES_ALL = "seen = '99999999:99999999:'"
TAMPERING = [
    ("inventory", "UPDATE counters SET sold = sold - 1"),
    ("inventory", "UPDATE counters SET issued = issued + 1"),
    ("inventory", "UPDATE counters SET issued = issued + 1, sold = sold + 1"),
    ("inventory", "DELETE FROM counters"),
    ("inventory", "DELETE FROM ticket_types WHERE name = 'Seat'"),
    ("inventory", entry(3, "change = -9")),
    ("inventory", entry(1, "change = 7, left_after = 7")),
    # entries: altered, dropped, added, renumbered
    ("numbering", entry(18, "number = 99")),
    ("numbering", entry(9, "number = 12345678901")),
    ("numbering", "DELETE FROM ledger WHERE number = 7"),
    ("numbering", "DELETE FROM ledger WHERE number = 18"),
    ("numbering", "DELETE FROM ledger"),
    ("numbering", ADDED.format(command="gen_random_uuid()")),
    ("numbering", ADDED.format(command="(SELECT command_id FROM work_list)")),
    ("numbering", entry(5, "command_id = gen_random_uuid()")),
    ("numbering", entry(5, "event_id = 0")),
    # lanes
    ("numbering", "UPDATE lanes SET number = number + 1"),
    ("numbering", "UPDATE lanes SET number = number - 1 WHERE number > 0"),
    ("numbering", "UPDATE lanes SET at = at + interval '1 hour'"),
    ("numbering", "DELETE FROM lanes"),
    ("numbering", "UPDATE lanes SET done_seq = 1000"),
    # batches
    ("numbering", "DELETE FROM batches WHERE first_number = 3"),
    ("numbering", "DELETE FROM batches WHERE last_number = 18"),
    ("numbering", batch(18, "last_number = 19")),
    ("numbering", batch(18, "first_number = 18")),
    ("numbering", EVERY_ENTRY_IN_TWO_BATCHES),
    ("numbering", batch(10, "at = at - interval '1 hour'")),
    ("numbering", batch(5, "at = at + interval '1 hour'")),
    # requests and the work list
    ("numbering", "DELETE FROM work_list"),
    ("numbering", "UPDATE work_list SET command_id = gen_random_uuid()"),
    ("numbering", "UPDATE work_list SET class = 0"),
    ("numbering", "UPDATE work_list SET seq = seq + 1"),
    ("numbering", "UPDATE work_list SET event_id = 0"),
    ("numbering", WAITS_TWICE.format(number=18, seq="seq")),
    ("numbering", WAITS_TWICE.format(number=18, seq="seq + 100")),
    ("numbering", "DELETE FROM requests WHERE id IN (SELECT command_id FROM work_list)"),
    ("numbering", "DELETE FROM requests WHERE quantity = 2"),
    ("numbering", asked(4, "event_id = 0")),
    ("numbering", asked(18, "created_at = created_at + interval '1 hour'")),
    # the rule
    ("outcomes", entry(10, "kind = 'confirmed', reason = NULL, change = -2")),
    ("outcomes", entry(3, "kind = 'rejected', reason = 'not_enough_tickets', change = 0")),
    ("outcomes", entry(10, "reason = 'over_user_limit'")),
    ("outcomes", entry(4, "left_after = 9")),
    ("outcomes", entry(5, "change = -1")),
    ("outcomes", entry(2, "kind = 'refused', reason = 'not_enough_tickets'")),
    ("outcomes", entry(11, "ticket_type_id = ticket_type_id + 1")),
    ("outcomes", asked(5, "quantity = 1")),
    ("outcomes", asked(5, "ticket_type_id = ticket_type_id + 1")),
    ("outcomes", asked(12, "kind = 'issue'")),
    ("outcomes", asked(16, "event_user_limit = NULL")),
    ("outcomes", asked(10, "quantity = 1, kind = 'issue'")),
    ("outcomes", entry(13, in_items(0, "change", -2))),
    ("outcomes", entry(13, in_items(1, "left_after", 9))),
    ("outcomes", entry(13, in_items(1, "ticket_type", 9))),
    ("outcomes", entry(13, "items = items - 1")),
    ("outcomes", entry(13, "items = '[]'")),
    ("outcomes", entry(13, "items = '{}'")),
    ("outcomes", asked(13, in_items(0, "quantity", 2))),
    ("outcomes", asked(13, "items = '7'")),
    ("user_limits", asked(5, "user_limit = 1")),
    ("user_limits", asked(5, "event_user_limit = 1")),
    ("user_limits", asked(13, in_items(1, "user_limit", 1))),
    ("user_limits", ONE_USER_FOR_TWO),
    ("first_come", TWO_OF_ONE_BATCH_EXCHANGED),
    ("first_come", asked(8, "seq = -1")),  # of the second batch, as if before the first
    ("first_come", waits("seq = -1, accepted_xid = '3'").replace(", accepted_xid = '3'", "", 1)),
    ("first_come", batch(5, "seen = '3:3:'")),  # it could not see what it decided
    ("first_come", batch(11, "seen = '3:3:'")),
    ("first_come", batch(10, DENIES_WHAT_WAS_SEEN)),
    ("first_come", batch(18, "ticket_type_id = 1")),
    # the last purchases before a change of capacity are decided although it is seen
    ("first_come", batch(10, SEES_ALL)),
    ("first_come", asked(11, "accepted_xid = '3'")),
    ("first_come", asked(16, "kind = 'issue'")),
    ("first_come", asked(17, "kind = 'issue'")),
    ("queue", "UPDATE requests SET created_at = created_at - interval '1 hour'"),
]


@pytest.mark.parametrize(("invariant", "statement"), TAMPERING)
def test_tampering_is_caught(
    engine: Engine, settings: Settings, sale: int, invariant: str, statement: str
) -> None:
    # What holds even for such a one, unless it is taken away first.
    run(engine, "ALTER TABLE requests ALTER seq DROP IDENTITY")
    for table in ("requests", "ledger", "batches", "counters"):
        for (check,) in rows(
            engine,
            "SELECT conname FROM pg_constraint WHERE conrelid = CAST(:t AS regclass)"
            " AND contype = 'c'",
            t=table,
        ):
            run(engine, f"ALTER TABLE {table} DROP CONSTRAINT {check}")
    tamper(engine, statement)
    report = audit(engine, settings)
    assert invariant in broken(report)
    assert not report.ok


def test_a_late_request_cannot_be_put_first_with_a_made_up_record(
    engine: Engine, settings: Settings
) -> None:
    """No trigger is disabled for this: it is what anybody may do who may decide."""
    ticket_type = add_ticket_type(engine, 10)
    event = event_of(engine, ticket_type)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 20)])
    run(
        engine,
        """
        WITH late AS (SELECT id, event_id, ticket_type_id FROM requests ORDER BY seq DESC LIMIT 1),
        batch AS (
            INSERT INTO batches (event_id, first_number, last_number, at, seen, decided_by)
            SELECT event_id, 2, 2, now(), '3:3:', 'forged' FROM late)
        INSERT INTO ledger (event_id, number, command_id, kind, ticket_type_id, change, left_after)
        SELECT event_id, 2, id, 'confirmed', ticket_type_id, -1, 9 FROM late
        """,
    )
    drain(engine, [event], settings, ignore)
    assert broken(audit(engine, settings)) == {"first_come"}


def test_the_guards_that_the_audit_looks_for_are_those_of_the_schema(engine: Engine) -> None:
    with cursor_transaction(engine) as cursor:
        assert standing_guards(cursor) == GUARDS


@pytest.mark.parametrize(
    ("statement", "guard"),
    [
        ("DROP TRIGGER {} ON ledger", "ledger_insert_only"),
        ("ALTER TABLE requests DISABLE TRIGGER {}", "requests_insert_only"),
        ("ALTER TABLE batches ENABLE REPLICA TRIGGER {}", "batches_follow"),
        ("ALTER TABLE counters DISABLE TRIGGER ALL", "counters_ticket_type_id_fkey"),
        ("ALTER TABLE users DISABLE TRIGGER {}", "users_with_requests_kept"),
        ("ALTER TABLE work_list DISABLE TRIGGER {}", "work_list_kept"),
        ("ALTER TABLE counters DROP CONSTRAINT {}", "counters_never_oversold"),
        (
            (
                "ALTER TABLE requests DROP CONSTRAINT {0},"
                " ADD CONSTRAINT {0} CHECK (quantity >= 1) NOT VALID"
            ),
            "requests_quantity_positive",
        ),
        ("ALTER TABLE ledger DROP CONSTRAINT {}", "ledger_one_answer"),
        ("DROP INDEX {}", "requests_idempotency"),
    ],
)
def test_a_guard_that_was_taken_away_is_missed(
    engine: Engine, settings: Settings, sale: int, statement: str, guard: str
) -> None:
    run(engine, statement.format(guard))
    report = audit(engine, settings)
    assert broken(report) == {"guards"}
    examples = [example for invariant in report.invariants for example in invariant.examples]
    assert any(example.startswith(f"{guard} of ") for example in examples)


@contextmanager
def role(engine: Engine, options: str) -> Iterator[str]:
    """One named like the database: roles are the cluster's."""
    name = str(engine.url.database)
    run(engine, f"CREATE ROLE {name} {options}")
    try:
        yield name
    finally:
        run(engine, f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.parametrize("of", ["DATABASE {name}", "ROLE {name}", "ROLE {name} IN DATABASE {name}"])
def test_a_setting_that_switches_the_guards_off_is_found(
    engine: Engine, settings: Settings, sale: int, of: str
) -> None:
    with role(engine, f"LOGIN IN ROLE {WORKER}") as name:
        of = of.format(name=name)
        run(engine, f"ALTER {of} SET session_replication_role = 'Replica'")
        report = audit(engine, settings)
        assert broken(report) == {"guards"}
        examples = [example for invariant in report.invariants for example in invariant.examples]
        assert [name in example for example in examples] == [True]
        run(engine, f"ALTER {of} SET session_replication_role = origin")
        assert audit(engine, settings).ok


def test_guards_that_are_off_in_the_audits_own_session_are_found(
    engine: Engine, settings: Settings, sale: int
) -> None:
    """Of the server's settings, for example."""
    change = f"ALTER DATABASE {engine.url.database} {{}} session_replication_role"
    run(engine, f"{change.format('SET')} = replica")
    engine.dispose()
    audit(engine, settings)
    run(engine, change.format("RESET"))
    assert broken(audit(engine, settings)) == {"guards"}
    engine.dispose()
    assert audit(engine, settings).ok


def test_a_setting_of_who_may_write_nothing_here_is_no_matter(
    engine: Engine, settings: Settings, sale: int
) -> None:
    with role(engine, "LOGIN") as name:
        run(engine, f"ALTER ROLE {name} SET session_replication_role = replica")
        assert audit(engine, settings).ok


def test_rows_that_a_policy_hides_are_an_error(
    engine: Engine, settings: Settings, sale: int
) -> None:
    """Else an audit would pass for want of rows."""
    with role(engine, f"LOGIN PASSWORD 'secret' IN ROLE {READER}") as name:
        url = with_login(settings.database_url, name, "secret")
        reader = settings.model_copy(update={"database_url": url})
        with database(reader) as readers:
            assert audit(readers, reader).ok
        run(engine, "ALTER TABLE ledger ENABLE ROW LEVEL SECURITY")
        with (
            pytest.raises(ConfigurationError, match='row-level security policy for table "ledger"'),
            database(reader) as readers,
        ):
            audit(readers, reader)


def test_each_event_is_replayed_as_of_a_moment_of_its_own(
    engine: Engine, settings: Settings, sale: int
) -> None:
    """So no snapshot stays open, and slows the sales, for as long as the whole audit takes."""
    another, user = add_ticket_type(engine, 5), add_user(engine)
    patient = settings.model_copy(update={"lock_timeout_ms": 20_000})

    def audit_waits_in_the_first() -> None:
        locks = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'batches'"
        assert scalar(engine, f"{locks}::regclass") == 1

    with (
        ThreadPoolExecutor(1) as pool,
        database(patient) as auditors,
        engine.connect() as connection,
    ):
        connection.execute(text("LOCK TABLE batches IN ACCESS EXCLUSIVE MODE"))
        auditing = pool.submit(audit, auditors, patient)
        eventually(audit_waits_in_the_first)
        queue_buy(engine, [(another, 1)], user_id=user)
        connection.rollback()
        report = auditing.result()
    assert report.ok
    assert report.queued == 2


def test_a_ledger_of_many_parts_is_read_whole(
    engine: Engine, settings: Settings, sale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "ROWS_AT_A_TIME", 5)
    monkeypatch.setattr(by_holder, "ROWS_AT_A_TIME", 2)
    report = audit(engine, settings)
    assert report.ok
    assert (report.confirmed, report.rejected, report.queued) == (7, 7, 1)
    tamper(engine, asked(13, in_items(1, "user_limit", 1)))
    assert broken(audit(engine, settings)) == {"user_limits"}


def test_what_was_withdrawn_whole_needs_no_ticket_type_and_no_event(
    engine: Engine, settings: Settings
) -> None:
    moved, gone, elsewhere = (add_ticket_type(engine, 5) for _ in range(3))
    event = event_of(engine, elsewhere)
    run(engine, f"UPDATE ticket_types SET event_id = {event} WHERE id = {moved}")
    run(engine, f"DELETE FROM events WHERE id = {event_of(engine, gone)}")
    report = audit(engine, settings)
    assert report.ok
    assert (report.ticket_types, report.issued) == (2, 10)


def test_changes_of_capacity_in_one_transaction(engine: Engine, settings: Settings) -> None:
    """Neither snapshot sees the transaction itself, except where later ones have ended before."""
    ticket_type = add_ticket_type(engine, 5)
    with engine.begin() as connection:
        change = text(f"SELECT eventify_issue({ticket_type}, 1)")
        connection.execute(change)
        add_user(engine)
        connection.execute(change)
        connection.execute(change)
    assert audit(engine, settings).ok


def test_resolutions_go_before_purchases(engine: Engine, settings: Settings) -> None:
    ticket_type = add_ticket_type(engine, 1)
    event = event_of(engine, ticket_type)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 3)])
    queue_issue(engine, ticket_type, 1)
    drain(engine, [event], settings, ignore)
    report = audit(engine, settings)
    assert report.ok
    assert (report.confirmed, report.rejected) == (2, 1)
    # Last, as if it had waited for the purchases before it.
    tamper(
        engine,
        "UPDATE ledger SET number = 99 WHERE number = 2",
        "UPDATE ledger SET number = number - 1 WHERE number BETWEEN 3 AND 5",
        "UPDATE ledger SET number = 5 WHERE number = 99",
    )
    assert "first_come" in broken(audit(engine, settings))


@pytest.fixture
def restored(engine: Engine, sale: int) -> int:
    """The sale as if from the dump of a cluster that was 20,000 transactions ahead of this one."""
    tamper(
        engine,
        "UPDATE requests SET accepted_xid = (accepted_xid::text::bigint + 20000)::text::xid8",
        "UPDATE batches SET seen = concat_ws(':',"
        " pg_snapshot_xmin(seen)::text::bigint + 20000,"
        " pg_snapshot_xmax(seen)::text::bigint + 20000, '')::pg_snapshot",
    )
    return sale


def test_a_restored_dump_keeps_the_proof_and_its_sale_may_go_on(
    engine: Engine, settings: Settings, restored: int
) -> None:
    assert audit(engine, settings).ok
    assert pass_stored_transaction_ids(engine) > 0
    drain(engine, [restored], settings, ignore)
    assert audit(engine, settings).ok


def test_the_look_at_all_batches_may_take_longer_than_a_statement(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else no service could start on a database with millions of them, that was just restored."""
    monkeypatch.setattr(transaction_ids, "READ_AHEAD", text("SELECT 0 FROM pg_sleep(0.3)"))
    hurried = settings.model_copy(update={"statement_timeout_ms": 50})
    engine = open_engine(hurried, "test")
    assert pass_stored_transaction_ids(engine) == 0
    engine.dispose()


def test_a_sale_that_goes_on_with_transaction_ids_gone_back_has_lost_its_proof(
    engine: Engine, settings: Settings, restored: int
) -> None:
    drain(engine, [restored], settings, ignore)
    assert broken(audit(engine, settings)) == {"first_come"}


def test_an_unavailable_database_is_an_error_in_one_sentence(settings: Settings) -> None:
    missing = make_url(settings.database_url).set(database="missing")
    url = missing.render_as_string(hide_password=False)
    elsewhere = settings.model_copy(update={"database_url": url})
    with (
        pytest.raises(ConfigurationError, match="does not exist"),
        database(elsewhere) as engine,
    ):
        audit(engine, elsewhere)


def test_two_that_changed_places_across_batches_are_caught(
    engine: Engine, settings: Settings, sale: int
) -> None:
    """Same quantity, same outcome: only the order of acceptance tells."""
    first, second = rows(
        engine, "SELECT command_id FROM ledger WHERE number IN (3, 6) ORDER BY number"
    )
    tamper(
        engine,
        "UPDATE ledger SET command_id = gen_random_uuid() WHERE number = 3",
        f"UPDATE ledger SET command_id = '{first[0]}' WHERE number = 6",
        f"UPDATE ledger SET command_id = '{second[0]}' WHERE number = 3",
    )
    assert broken(audit(engine, settings)) == {"first_come"}


def test_an_acceptance_that_was_still_open_may_be_decided_after_later_ones(
    engine: Engine, settings: Settings
) -> None:
    """The earlier number was drawn, but its acceptance was not committed yet."""
    slow_user, quick_user = add_user(engine), add_user(engine)
    ticket_type = add_ticket_type(engine, 5)
    event = event_of(engine, ticket_type)
    slow = request(slow_user, ticket_type)
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        gateway_store.ACCEPT.run(cursor, gateway_store.parameters_of([slow], LIMITS))
        queue(engine, [request(quick_user, ticket_type)])
        drain(engine, [event], settings, ignore)
        connection.connection.commit()
    drain(engine, [event], settings, ignore)
    assert audit(engine, settings).ok
    # Had its acceptance been visible to the first drain, the same order would be a violation.
    tamper(engine, asked(3, "accepted_xid = '3'"))
    assert broken(audit(engine, settings)) == {"first_come"}
