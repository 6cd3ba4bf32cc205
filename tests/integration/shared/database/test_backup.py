"""A sale outlives its server: by a dump, and by a base backup with the archived log."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from textwrap import dedent

import pytest
from sqlalchemy import Engine, text

from deploy.local.servers.embedded import EmbeddedServer, run_as
from deploy.migration import DATABASE_OPTIONS as NEW_DATABASE_OPTIONS
from gateway.webhooks import store
from purchase_worker.audit.all_events import audit
from purchase_worker.audit.findings import FIRST_COME, GUARDS
from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.migrate import migrate
from shared.database.rights import SENDER
from shared.database.transaction_ids import pass_stored_transaction_ids
from tests.support.factories import (
    add_ticket_type,
    add_users,
    event_of,
    ignore,
    queue,
    request,
    run,
    scalar,
)
from tests.support.postgres_version import path_of_clients
from tests.support.receivers import Receiver, answer
from tests.support.servers import (
    DATABASE_OPTIONS,
    Server,
    admin_connection,
    beside,
    new_postgres,
    run_admin,
    running,
    with_database,
    with_settings,
)
from tests.support.services import PROJECT, folder_for_servers, running_service
from tests.support.tampering import broken
from tests.support.waiting import eventually

# As many transactions as the old server has behind it, beyond those of a new one.
LONG_LIFE = (
    "DO $$ BEGIN FOR n IN 1..3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
)

# `lanes.next_done_xid` of a mark that waits for the id of a batch.
OPEN = "18446744073709551615"
# Null for a role that the server does not have yet.
WORKER_MAY_READ = "SELECT has_table_privilege(to_regrole('eventify_worker'), 'work_list', 'SELECT')"
Restore = Callable[[], AbstractContextManager[Engine]]
GUIDE = (PROJECT / "docs" / "operations.md").read_text()
AFTER_FAILOVER = dict(re.findall(r"after it: `(\w+) = '(\w+)'`", GUIDE))
SHELL = [
    dedent(block)
    for block in re.findall(
        r"^ *```sh\n(.*?)```",
        GUIDE,
        flags=re.DOTALL | re.MULTILINE,
    )
]


def typed(what: str) -> str:
    """The only block of the guide's commands with this in it."""
    (block,) = (block for block in SHELL if what in block)
    return block


def lines_of_postgresql_conf(block: str) -> dict[str, str]:
    return dict(re.findall(r"^#.*? (\w+) = '?(.*?)'?$", block, flags=re.MULTILINE))


def run_commands(commands: str, cwd: Path, user: str | None = None, **variables: str) -> str:
    """What they print."""
    path = f"{path_of_clients()}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", commands],
        **run_as(user),
        cwd=cwd,
        env=os.environ | {"PATH": path} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_tool(name: str, *arguments: str) -> None:
    """One of PostgreSQL's own programs."""
    done = subprocess.run(
        [name, *arguments],
        cwd="/",
        env=os.environ | {"PATH": f"{path_of_clients()}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def connected(settings: Settings, url: str) -> Iterator[Engine]:
    engine = open_engine(settings.model_copy(update={"database_url": url}), "test", pool_size=5)
    yield engine
    engine.dispose()


def sell(engine: Engine, settings: Settings, ticket_type: int, buyers: int) -> None:
    """Accept and decide purchases of new users."""
    queue(engine, [request(user, ticket_type) for user in add_users(engine, buyers)])
    drain(engine, [event_of(engine, ticket_type)], settings, ignore)


def epoch(engine: Engine) -> str:
    now: str = scalar(engine, "SELECT epoch FROM ledger_epoch")
    return now


@pytest.fixture(scope="module")
def new_server() -> Iterator[Server]:
    """A server that has just been made, into which a backup is restored."""
    with folder_for_servers() as folder, running(new_postgres(folder)) as server:
        yield server


@pytest.fixture
def dumped(settings: Settings, new_server: Server, tmp_path: Path) -> Restore:
    """Dumps the database; the block has what the new server makes of it."""

    @contextmanager
    def restore() -> Iterator[Engine]:
        dump, name = tmp_path / "eventify.dump", f"restored_{os.urandom(4).hex()}"
        source = f"--dbname={settings.database_url}"
        run_tool("pg_dump", "--format=custom", f"--file={dump}", source)
        run_admin(new_server.url, f"CREATE DATABASE {name}")
        url = with_database(new_server.url, name)
        options = ("--exit-on-error", "--no-owner", "--no-privileges")
        run_tool("pg_restore", *options, f"--dbname={url}", str(dump))
        with connected(settings, url) as engine:
            yield engine

    return restore


@pytest.fixture
def restored(engine: Engine, settings: Settings, dumped: Restore) -> Iterator[Engine]:
    """The database of a sale in the midst, as its dump gives it back; ticket type 2001 goes on."""
    run_admin(settings.database_url, LONG_LIFE)
    ticket_type = add_ticket_type(engine, 100)
    sell(engine, settings, ticket_type, 30)
    assert migrate(engine) == 0, "only a restored server has ids to pass over"
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 3)])
    with dumped() as restored:
        yield restored


def test_a_sale_goes_on_after_a_dump_was_restored_and_migrated(
    restored: Engine, settings: Settings
) -> None:
    report = audit(restored, settings)
    assert broken(report) == {GUARDS}, "everybody may call every function until it is migrated"
    assert (report.sold, report.left, report.queued) == (30, 70, 3)
    before = epoch(restored)
    assert migrate(restored) > 1_000
    anew = epoch(restored)
    assert anew != before, "readers of its ledgers learn that it is another database"
    assert migrate(restored) == 0, "there is nothing left to pass over"
    assert epoch(restored) == anew, "it is the same as before"
    assert broken(audit(restored, settings)) == set()
    sell(restored, settings, 2001, 20)
    report = audit(restored, settings)
    assert broken(report) == set()
    assert (report.sold, report.left, report.queued) == (53, 47, 0)


def test_without_it_the_order_could_never_be_proved_again(
    restored: Engine, settings: Settings
) -> None:
    sell(restored, settings, 2001, 20)
    assert broken(audit(restored, settings)) == {FIRST_COME, GUARDS}


def test_no_service_may_read_a_restored_database_before_it_is_ready(
    restored: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that waits for it would decide before the transaction ids are moved."""

    def worker_may_read() -> bool:
        return bool(scalar(restored, WORKER_MAY_READ))

    def interrupt(_engine: Engine) -> int:
        raise InterruptedError

    before = epoch(restored)
    for step in ("pass_stored_transaction_ids", "grant_rights"):
        with monkeypatch.context() as patch:
            patch.setattr(f"shared.database.migrate.{step}", interrupt)
            with pytest.raises(InterruptedError):
                migrate(restored)
        assert not worker_may_read()
    migrate(restored)
    assert worker_may_read()
    assert epoch(restored) != before


def test_where_services_have_rights_what_is_new_is_granted_at_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failover, `migrate` reads all batches too."""
    run(engine, f"REVOKE SELECT ON webhooks FROM {SENDER}")

    def interrupt(_engine: Engine) -> int:
        raise InterruptedError

    monkeypatch.setattr("shared.database.migrate.pass_stored_transaction_ids", interrupt)
    with pytest.raises(InterruptedError):
        migrate(engine, restored=True)
    assert scalar(engine, f"SELECT has_table_privilege('{SENDER}', 'webhooks', 'SELECT')")


# A batch closes the mark with its transaction's id, the next one may move it (0021).
@pytest.mark.parametrize("batches", [1, 2, 3])
def test_the_marks_of_a_lane_hide_nothing_in_a_restored_database(
    engine: Engine, settings: Settings, dumped: Restore, batches: int
) -> None:
    run_admin(settings.database_url, LONG_LIFE)
    ticket_type = add_ticket_type(engine, 100)
    for _ in range(batches):
        sell(engine, settings, ticket_type, 5)
    mark = scalar(engine, "SELECT next_done_xid::text FROM lanes")
    assert (mark == OPEN) == (batches != 2)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 3)])
    with dumped() as restored:
        migrate(restored)
        if mark != OPEN:
            next_id = scalar(restored, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
            assert int(next_id) > int(mark)
        before = scalar(restored, "SELECT done_seq FROM lanes")
        for _ in range(4):
            sell(restored, settings, ticket_type, 5)
            assert scalar(restored, "SELECT count(*) FROM work_list") == 0
        assert scalar(restored, "SELECT done_seq FROM lanes") > before, "the mark moves again"
        report = audit(restored, settings)
    assert broken(report) == set()
    assert (report.sold, report.queued) == (5 * batches + 23, 0)


def test_a_dump_is_restored_by_the_commands_of_the_guide(
    engine: Engine, settings: Settings, new_server: Server, tmp_path: Path
) -> None:
    run_admin(settings.database_url, LONG_LIFE)
    sell(engine, settings, add_ticket_type(engine, 100), 10)
    commands = [block for block in SHELL if "eventify.dump" in block or "eventify migrate" in block]
    assert len(commands) == 3, "the dump, its restore, and what makes it ready"
    printed = run_commands(
        "".join(commands).replace(NEW_DATABASE_OPTIONS, DATABASE_OPTIONS),
        tmp_path,
        EVENTIFY_HOME=str(tmp_path / "home"),
        EVENTIFY_DATABASE_URL=settings.database_url,
        NEW_SERVER_URL=with_database(new_server.url, "postgres"),
        NEW_DATABASE_URL=with_database(new_server.url, "eventify"),
    )
    assert "transaction ids" in printed
    assert "10 confirmed" in printed
    assert "The audit passes" in printed


def test_the_ids_of_changes_of_capacity_are_passed_too(engine: Engine) -> None:
    """One is accepted and decided at once, so that its own snapshot does not have its id."""
    add_ticket_type(engine, 100)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        ahead = "(pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 50)::text::xid8"
        connection.execute(text(f"UPDATE requests SET accepted_xid = {ahead}"))
    assert 0 < pass_stored_transaction_ids(engine) <= 51
    assert pass_stored_transaction_ids(engine) == 0


def test_receivers_are_told_of_a_restored_ledger_and_receive_what_it_has(
    engine: Engine, settings: Settings, dumped: Restore
) -> None:
    """One had received all when the backup was made, one has failed. Then five more were sold."""
    ticket_type = add_ticket_type(engine, 100)
    event = event_of(engine, ticket_type)
    owner = scalar(engine, "SELECT owner_id FROM events WHERE id = :id", id=event)
    settings = settings.model_copy(
        update={
            "webhook_allow_http": True,
            "webhook_allowed_networks": "127.0.0.0/8",
            "webhook_poll_seconds": 0.1,
            # What was claimed in the backup is told when the lease has ended.
            "webhook_timeout_seconds": 1.0,
        }
    )

    def came(path: str, after: int, numbers: range, epoch: str) -> None:
        content = [each.content["data"] for each in receiver.of(path)]
        assert {each["epoch"] for each in content} == {epoch}
        assert content[0]["after"] == after
        assert receiver.numbers(path) == list(numbers)

    with Receiver().running() as receiver, ExitStack() as stack:
        receiver.respond["/fails"] = answer(500)
        for path in ("/in-time", "/fails"):
            url = receiver.url + path
            store.add(engine, owner, url, event, ["confirmed"], b"s" * 32, webhooks_max=2)
        with running_service("webhook_sender", settings):
            sell(engine, settings, ticket_type, 10)
            eventually(lambda: came("/in-time", 1, range(2, 12), epoch(engine)))
            eventually(lambda: receiver.of("/fails")[0], retry_on=IndexError)
            eventually(lambda: noted(engine, 2))
            restored = stack.enter_context(dumped())
            sell(engine, settings, ticket_type, 5)
            eventually(lambda: came("/in-time", 1, range(2, 17), epoch(engine)))
        former_ids = {each.id for each in receiver.requests}
        receiver.respond.clear()
        receiver.requests.clear()
        migrate(restored, lease_seconds=settings.webhook_lease_seconds)
        url = restored.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with running_service("webhook_sender", settings.model_copy(update={"database_url": url})):
            eventually(lambda: came("/in-time", 11, range(0), epoch(restored)))
            eventually(lambda: came("/fails", 1, range(2, 12), epoch(restored)))
            sell(restored, settings, ticket_type, 3)
            eventually(lambda: came("/in-time", 11, range(12, 15), epoch(restored)))
    assert not former_ids & {each.id for each in receiver.requests}


def noted(engine: Engine, attempts: int) -> None:
    assert scalar(engine, "SELECT count(*) FROM webhook_deliveries") >= attempts


def recovered(url: str) -> None:
    with closing(admin_connection(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery()")
        assert cursor.fetchone() == (False,)


def test_each_moment_is_restored_from_one_base_backup_by_the_commands_of_the_guide(
    settings: Settings,
) -> None:
    with folder_for_servers() as folder:
        home = folder / "server"
        server = new_postgres(home)
        user = server.program.user

        def moved(guide: str) -> str:
            return re.sub(r"(?<= |=)/(?=(archive|backup|restore)\b)", f"{home}/", guide)

        def configured(server: EmbeddedServer, block: str, **others: str) -> EmbeddedServer:
            return with_settings(server, **lines_of_postgresql_conf(block) | others)

        backup = moved(typed("pg_basebackup"))
        restore, _pg_ctl, data = moved(typed("recovery.signal")).partition("pg_ctl --pgdata=")
        run_commands("mkdir archive", home, user)
        moments = []
        with running(configured(server, backup)):
            run_admin(server.url, "CREATE DATABASE sale")
            with connected(settings, with_database(server.url, "sale")) as engine:
                migrate(engine)
                ticket_type = add_ticket_type(engine, 100)
                sell(engine, settings, ticket_type, 10)
                run_commands(backup, home, user, EVENTIFY_DATABASE_URL=server.url)
                for _ in range(2):
                    sell(engine, settings, ticket_type, 20)
                    moments.append(scalar(engine, "SELECT clock_timestamp()::text"))
                before = epoch(engine)
                sell(engine, settings, ticket_type, 5)

        @contextmanager
        def restored(moment: str, **others: str) -> Iterator[Engine]:
            run_commands(f"mkdir restore; {restore}", home, user)
            copy = beside(server, Path(data.split()[0]))
            others = {"recovery_target_time": moment} | others
            with running(configured(copy, restore, **others)) as second:
                eventually(lambda: recovered(second.url))
                with connected(settings, with_database(second.url, "sale")) as engine:
                    yield engine
            shutil.rmtree(home / "restore")

        for moment, sold in zip(moments, (30, 50), strict=True):
            with restored(moment) as engine:
                sell(engine, settings, ticket_type, 1)
                assert epoch(engine) == before
                assert migrate(engine) == 0, "a copy keeps its transaction ids"
                assert epoch(engine) != before
                report = audit(engine, settings)
            assert broken(report) == set()
            assert report.sold == sold + 1, "what was acknowledged after that moment is lost"
        # As a standby that took over and archives, too.
        with restored(moments[-1], **lines_of_postgresql_conf(backup)) as engine:
            sell(engine, settings, ticket_type, 7)
            after_failover = scalar(engine, "SELECT clock_timestamp()::text")
            sell(engine, settings, ticket_type, 5)
        with restored(after_failover, **AFTER_FAILOVER) as engine:
            assert audit(engine, settings).sold == 57


def test_a_file_is_archived_whole_and_once_and_never_overwritten(tmp_path: Path) -> None:
    """PostgreSQL asks again for one that was archived just before a crash."""
    archive, segment = tmp_path / "archive", tmp_path / "000000010000000000000001"
    archive.mkdir()
    (archive / f"{segment.name}.new").write_text("half")
    command = lines_of_postgresql_conf(typed("pg_basebackup"))["archive_command"]
    for placeholder, meant in (("/archive", archive), ("%p", segment), ("%f", segment.name)):
        command = command.replace(placeholder, str(meant))

    def status() -> int:
        return subprocess.run(["sh", "-c", command], check=False).returncode

    segment.write_text("the whole segment")
    assert (status(), status()) == (0, 0)
    segment.write_text("of another server")
    assert status() != 0
    assert [file.read_text() for file in archive.iterdir()] == ["the whole segment"]
