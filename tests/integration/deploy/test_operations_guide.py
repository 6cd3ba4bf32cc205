"""docs/operations.md: its SQL works, and the settings and commands that it names exist."""

import re
from textwrap import dedent

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from catalog.database_threads import connections_of
from deploy.cli.main import COMMANDS
from gateway.app import _connections
from purchase_worker.audit.all_events import audit
from purchase_worker.audit.guards import GUARDS
from purchase_worker.drain import drain
from shared.config.settings import Settings, unknown_variables
from tests.support.factories import (
    add_ticket_type,
    add_user,
    event_of,
    ignore,
    queue,
    request,
    rows,
    run,
)
from tests.support.services import PROJECT
from tests.support.waiting import eventually

# The schema of 0.2.0.
RELEASED = "0022"
MIGRATIONS = PROJECT / "shared" / "database" / "migrations" / "versions"
GUIDE = (PROJECT / "docs" / "operations.md").read_text()
SQL = [
    dedent(block)
    for block in re.findall(r"^ *```sql\n(.*?)```", GUIDE, flags=re.DOTALL | re.MULTILINE)
]


def sql_about(what: str) -> str:
    (found,) = (block for block in SQL if what in block)
    return found


def test_what_is_queued_is_shown_by_event(engine: Engine) -> None:
    ticket_type = add_ticket_type(engine, 10)
    queue(engine, [request(add_user(engine), ticket_type) for _ in range(3)])
    ((shown, queued, oldest),) = rows(engine, sql_about("AS oldest"))
    assert (shown, queued) == (event_of(engine, ticket_type), 3)
    assert oldest.total_seconds() > 0


def test_a_blocking_session_is_shown_and_can_be_terminated(
    engine: Engine, settings: Settings
) -> None:
    ticket_type = add_ticket_type(engine, 10)
    event = event_of(engine, ticket_type)
    queue(engine, [request(add_user(engine), ticket_type)])
    with engine.connect() as console:
        console.execute(text("SET application_name = 'forgotten console'"))
        console.execute(text("SELECT FROM lanes FOR UPDATE"))

        def pid_shown() -> int:
            ((pid, name, *_),) = rows(engine, sql_about("open_for"))
            assert name == "forgotten console"
            return int(pid)

        pid = eventually(pid_shown, retry_on=ValueError)
        drain(engine, [event], settings, ignore)
        assert audit(engine, settings).queued == 1
        run(engine, "SELECT pg_terminate_backend(:pid)", pid=pid)
        console.invalidate()

    def decided() -> None:
        drain(engine, [event], settings, ignore)
        assert audit(engine, settings).queued == 0

    eventually(decided)


def test_failing_webhooks_are_shown_with_owner_host_and_last_status(engine: Engine) -> None:
    user = add_user(engine)
    event = event_of(engine, add_ticket_type(engine, 10))
    run(
        engine,
        "INSERT INTO webhooks (user_id, url, kinds)"
        " VALUES (:user, 'https://shop.example:8443/hooks?key=secret', '{confirmed}')",
        user=user,
    )
    run(
        engine,
        "INSERT INTO webhook_cursors (webhook_id, event_id, number, failures, failing_since)"
        " SELECT id, :event, 0, 1, now() FROM webhooks",
        event=event,
    )
    run(
        engine,
        "INSERT INTO webhook_deliveries"
        " (webhook_id, delivery_id, at, status, failure, milliseconds)"
        " SELECT w.id, gen_random_uuid(), now() - m * interval '1 min', 504 - m,"
        " 'status', 9 FROM webhooks w, generate_series(3, 1, -1) m",
    )
    ((_webhook, _owner, host, since, _at, status, failure),) = rows(engine, sql_about("AS host"))
    assert (host, status, failure) == ("shop.example:8443", 503, "status")
    assert since is not None
    run(engine, "UPDATE webhook_cursors SET failures = 0, failing_since = NULL")
    assert rows(engine, sql_about("AS host")) == []


def test_personal_data_is_erased_and_the_audit_still_passes(
    engine: Engine, settings: Settings
) -> None:
    user = add_user(engine)
    run(engine, "UPDATE users SET email = 'ada@example.org' WHERE id = :id", id=user)
    ticket_type = add_ticket_type(engine, 10)
    queue(engine, [request(user, ticket_type)])
    drain(engine, [event_of(engine, ticket_type)], settings, ignore)
    for statement in filter(str.strip, sql_about("forgotten-").split(";")):
        run(engine, statement.replace("id = 1", f"id = {user}"))
    assert rows(engine, "SELECT username, email FROM users WHERE id = :id", id=user) == [
        (f"forgotten-{user}", None)
    ]
    assert audit(engine, settings).ok
    with pytest.raises(IntegrityError, match="a user with purchases is not deleted"):
        run(engine, "DELETE FROM users WHERE id = :id", id=user)


def test_connections_are_counted_as_the_gateway_opens_them(
    engine: Engine, settings: Settings
) -> None:
    assert f"EVENTIFY_LIST_THREADS` + 19: {_connections(settings)} by default" in GUIDE
    assert f"_WRITE_THREADS` + 2: {connections_of(settings)} by default" in GUIDE
    for statement in filter(str.strip, sql_about("max_connections").split(";")):
        assert rows(engine, statement) is not None


def test_every_setting_and_command_in_the_guide_exists() -> None:
    settings = set(re.findall(r"EVENTIFY_[A-Z_]*[A-Z]\b", GUIDE))
    assert unknown_variables(settings) == {}
    named = set(re.findall(r"[`\n]\s*eventify ([a-z]+)", GUIDE))
    assert named <= set(COMMANDS)


def test_no_server_is_started_on_a_base_backup_itself() -> None:
    """It would have another history then, and no earlier moment could be restored from it."""
    backups, started = (
        set(re.findall(rf"{program} --pgdata=(\S+)", GUIDE))
        for program in ("pg_basebackup", "pg_ctl")
    )
    assert backups
    assert started
    assert not backups & started


def test_no_copy_goes_into_a_directory_that_exists() -> None:
    """`cp -a HOME BACKUP` would put the second copy into the first, and leave that as it was."""
    copies = re.findall(r"(?:mkdir (\S+) && )?cp -a (\S+) ([^\s`]+)", GUIDE)
    assert copies
    for made, source, target in copies:
        assert made == target
        assert source.endswith("/.")


def test_each_guard_that_a_former_audit_misses_is_named() -> None:
    """Else who goes back takes its verdict for tampering."""
    (go_back,) = re.findall(r"^## Go back\n(.*?)^## ", GUIDE, flags=re.DOTALL | re.MULTILINE)
    later = [path for path in MIGRATIONS.glob("0*.py") if path.name[:4] > RELEASED]
    dropped = {
        name
        for path in later
        for name in re.findall(r"DROP (?:CONSTRAINT|TRIGGER) (\w+)", path.read_text())
    }
    gone = dropped - {guard for guards in GUARDS.values() for guard in guards}
    assert gone >= {"counters_left_bounded"}
    assert {name for name in gone if f"`{name}`" not in go_back} == set()


def test_what_was_revoked_since_a_backup_is_taken_back(engine: Engine) -> None:
    user = add_user(engine)
    run(
        engine,
        "INSERT INTO webhooks (user_id, url, kinds)"
        " VALUES (:user, 'https://example.org/', '{confirmed}')",
        user=user,
    )
    for statement in sql_about("UPDATE refresh_tokens").split(";"):
        if statement.strip():
            run(engine, statement)
    assert rows(engine, "SELECT disabled_reason FROM webhooks") == [("owner",)]
