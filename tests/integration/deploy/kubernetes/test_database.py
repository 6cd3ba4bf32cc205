"""What the manifests ask of the database: KEDA's query, and the wait for the schema."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

from deploy.cli.main import main
from shared.auth.keys import load_public_keys, load_signing_key
from shared.config.settings import Settings
from shared.database.migrate import migrate
from shared.database.oldest_queued import OLDEST_QUEUED
from shared.database.rights import GATEWAY
from shared.database.schema_version import missing_migrations
from tests.integration.deploy.kubernetes.rendered import Rendered
from tests.integration.purchase_worker.test_deep_queue import scans
from tests.integration.shared.database.test_schema import empty_engine
from tests.support.factories import add_ticket_type, add_user, add_users, queue, request, run

__all__ = ["empty_engine"]


@pytest.fixture
def query(production: Rendered) -> str:
    (trigger,) = production.named("ScaledObject", "worker")["spec"]["triggers"]
    sql: str = trigger["metadata"]["query"]
    return sql


@pytest.fixture
def keda(settings: Settings) -> Iterator[Any]:
    """A session without any setting of ours."""
    connection = psycopg2.connect(settings.database_url)
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


def test_keda_reads_how_long_the_oldest_has_waited(engine: Engine, keda: Any, query: str) -> None:
    keda.execute(query)
    assert keda.fetchone() == (0.0,)
    for ticket_type in (add_ticket_type(engine, 5), add_ticket_type(engine, 5)):
        queue(engine, [request(user, ticket_type) for user in add_users(engine, 2)])
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql(
            "UPDATE requests SET created_at = created_at - interval '30 seconds'"
            " WHERE seq = (SELECT max(seq) - 1 FROM requests)"
        )
    keda.connection.rollback()
    keda.execute(query)
    assert 30 <= keda.fetchone()[0] < 60


def test_keda_reads_it_as_the_gateway_does(query: str) -> None:
    assert " ".join(OLDEST_QUEUED.split()) in query


def test_keda_takes_one_step_for_each_event_however_long_the_queue(
    engine: Engine, keda: Any, query: str
) -> None:
    user, ticket_types = add_user(engine), [add_ticket_type(engine, 9_000) for _ in range(3)]
    for ticket_type in ticket_types:
        run(
            engine,
            "INSERT INTO requests"
            " (id, event_id, user_id, ticket_type_id, quantity, unit_price, currency)"
            " SELECT gen_random_uuid(), event_id, :user, id, 1, 25, 'EUR'"
            " FROM ticket_types, generate_series(1, 3000) WHERE id = :type",
            user=user,
            type=ticket_type,
        )
    run(engine, "ANALYZE requests, work_list")
    keda.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}")
    ((plan,),) = keda.fetchall()
    steps = [scan for scan in scans(plan[0]["Plan"]) if "Relation Name" in scan]
    for index in ("work_list_pkey", "requests_pkey"):
        scanned = [scan for scan in steps if scan["Index Name"] == index]
        # Rows are told as an average of the loops, which is rounded: before version 18 to integers.
        loops = [scan["Actual Loops"] for scan in scanned]
        found = sum(scan["Actual Rows"] * n for scan, n in zip(scanned, loops, strict=True))
        assert abs(found - len(ticket_types)) <= sum(loops) / 2
        steps = [scan for scan in steps if scan not in scanned]
    assert steps == []


def test_a_service_waits_until_its_schema_is_there(
    empty_engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = ["wait-for-schema", "--seconds", "0"]
    monkeypatch.setenv("EVENTIFY_DATABASE_URL", f"{settings.database_url}_empty")
    too_early = CliRunner().invoke(main, wait)
    assert too_early.exit_code == 1
    assert "lacks the migrations 0001, 0002" in too_early.output
    migrate(empty_engine, "0002")
    assert missing_migrations(empty_engine)[0] == "0003"
    migrate(empty_engine)
    assert CliRunner().invoke(main, wait).exit_code == 0


def test_an_older_version_starts_on_a_newer_schema(engine: Engine) -> None:
    """A rollback, or the old pods of a rollout."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert missing_migrations(engine) == []


def test_an_older_version_migrates_nothing_of_a_newer_schema(engine: Engine) -> None:
    """`migrate` comes before each start: with compose, `eventify up`, and on Kubernetes."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text(f"GRANT DELETE ON users TO {GATEWAY}"))
    assert migrate(engine) == 0
    with engine.connect() as connection:
        version = connection.scalar(text("SELECT version_num FROM alembic_version"))
        may_delete = text("SELECT has_table_privilege(:role, 'users', 'DELETE')")
        assert (version, connection.scalar(may_delete, {"role": GATEWAY})) == ("9999", True)


def test_the_command_makes_keys_that_sign_and_are_verified_by_their_public_half(
    tmp_path: Path,
) -> None:
    made = Rendered(CliRunner().invoke(main, ["kubernetes-secrets"]).output)
    (keys,) = (one for one in made.listed() if one["metadata"]["name"] == "eventify-signing-keys")
    (public,) = (one for one in made.listed() if one["metadata"]["name"] == "eventify-public-keys")
    for folder, files in (("gateway", keys["stringData"]), ("others", public["data"])):
        (tmp_path / folder).mkdir()
        for name, content in files.items():
            (tmp_path / folder / name).write_text(content)
    signing = load_signing_key(tmp_path / "gateway")
    verifying = load_public_keys(tmp_path / "others")
    assert (
        verifying[signing.kid].public_numbers() == signing.private_key.public_key().public_numbers()
    )
    assert not list((tmp_path / "others").glob("*[!b].pem"))
