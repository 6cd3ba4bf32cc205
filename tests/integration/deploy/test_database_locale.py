"""`eventify migrate` with another locale or schema, and in the database that the guide makes."""

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from sqlalchemy.engine import make_url

from deploy.cli.main import main
from deploy.migration import DATABASE_OPTIONS as NEW_DATABASE_OPTIONS
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.migrate import migrate
from tests.support.factories import rows, run, scalar
from tests.support.postgres_version import postgres_version
from tests.support.servers import DATABASE_OPTIONS, run_admin
from tests.support.services import PROJECT

ONLY_ASCII = "TEMPLATE template0 ENCODING 'UTF8' " + (
    "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C'" if postgres_version() >= 17 else "LOCALE 'C'"
)


@pytest.fixture
def elsewhere(
    request: pytest.FixtureRequest,
    postgres_url: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Settings]:
    """An empty database that was made with these options; `eventify` commands use it."""
    url = f"{settings.database_url}_locale"
    name = make_url(url).database
    run_admin(postgres_url, f"CREATE DATABASE {name} {request.param}")
    monkeypatch.setenv("EVENTIFY_DATABASE_URL", url)
    yield settings.model_copy(update={"database_url": url})
    run_admin(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("elsewhere", [ONLY_ASCII], indirect=True)
def test_an_empty_database_without_letter_case_is_refused(elsewhere: Settings) -> None:
    refused = CliRunner().invoke(main, ["migrate"])
    assert refused.exit_code == 1
    assert "Émile and émile would be two accounts" in refused.output
    assert NEW_DATABASE_OPTIONS in refused.output
    engine = open_engine(elsewhere, "test")
    assert rows(engine, "SELECT FROM pg_tables WHERE schemaname = 'public'") == []
    engine.dispose()


@pytest.mark.parametrize("elsewhere", [ONLY_ASCII], indirect=True)
def test_a_database_in_use_without_letter_case_is_warned_of(elsewhere: Settings) -> None:
    engine = open_engine(elsewhere, "test")
    migrate(engine, "0001")
    engine.dispose()
    done = CliRunner().invoke(main, ["migrate"])
    assert done.exit_code == 0, done.output
    assert "Warning: The database's locale knows only ASCII letters" in done.output


@pytest.mark.parametrize("elsewhere", [DATABASE_OPTIONS], indirect=True)
@pytest.mark.parametrize("command", [("audit",), ("pause", "1"), ("export", "1")])
def test_a_command_on_a_former_schema_says_what_is_missing(
    elsewhere: Settings, command: tuple[str, ...]
) -> None:
    engine = open_engine(elsewhere, "test")
    migrate(engine, "0001")
    engine.dispose()
    failed = CliRunner().invoke(main, command)
    assert failed.exit_code != 0
    assert "The database lacks the migrations 0002, 0003, " in failed.output
    assert ": run `eventify migrate`." in failed.output


@pytest.mark.parametrize("elsewhere", [DATABASE_OPTIONS], indirect=True)
@pytest.mark.parametrize("revision", [None, "0022"])
def test_a_schema_named_like_the_login_gets_no_tables(
    elsewhere: Settings, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    engine = open_engine(elsewhere, "test")
    if revision is not None:
        migrate(engine, revision)
    run(engine, "CREATE SCHEMA AUTHORIZATION CURRENT_USER")
    refused = CliRunner().invoke(main, ["migrate"])
    assert refused.exit_code == 1
    assert "and the tables belong to public: add ?options=-csearch_path%3Dpublic" in refused.output
    monkeypatch.setenv(
        "EVENTIFY_DATABASE_URL", f"{elsewhere.database_url}?options=-csearch_path%3Dpublic"
    )
    done = CliRunner().invoke(main, ["migrate"])
    assert done.exit_code == 0, done.output
    count = "SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text = current_user"
    assert scalar(engine, count) == 0
    engine.dispose()


@pytest.mark.parametrize("elsewhere", [DATABASE_OPTIONS], indirect=True)
def test_what_a_pooler_does_not_set_is_set_by_a_migration(
    elsewhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(elsewhere, "test")
    migrate(engine)
    name = scalar(engine, "SELECT current_database()")
    run(engine, f"ALTER DATABASE {name} SET quote_all_identifiers = on")
    engine.dispose()
    monkeypatch.setenv("EVENTIFY_PREPARE_STATEMENTS", "false")
    done = CliRunner().invoke(main, ["migrate"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("elsewhere", [DATABASE_OPTIONS], indirect=True)
def test_a_migration_that_fails_says_why(elsewhere: Settings) -> None:
    engine = open_engine(elsewhere, "test")
    migrate(engine, "0001")
    run(engine, "ALTER TABLE users RENAME TO people")
    engine.dispose()
    failed = CliRunner().invoke(main, ["migrate"])
    assert failed.exit_code == 1
    assert 'relation "users" does not exist' in failed.output


@pytest.mark.parametrize("elsewhere", [DATABASE_OPTIONS], indirect=True)
def test_a_database_as_the_guide_makes_it_knows_letter_case(elsewhere: Settings) -> None:
    guide = (PROJECT / "docs" / "operations.md").read_text()
    assert re.findall(r"CREATE DATABASE eventify (.*?)\"\n", guide) == [NEW_DATABASE_OPTIONS]
    (older,) = re.findall(
        r"PostgreSQL 14 to 16 have no builtin locale: there, `(.*?)` alone", guide
    )
    assert older in DATABASE_OPTIONS or postgres_version() >= 17
    engine = open_engine(elsewhere, "test")
    assert scalar(engine, "SELECT lower('ÉMILE')") == "émile"
    engine.dispose()
    done = CliRunner().invoke(main, ["migrate"])
    assert done.exit_code == 0, done.output
    assert "Warning" not in done.output


@pytest.mark.parametrize("elsewhere", [DATABASE_OPTIONS], indirect=True)
@pytest.mark.parametrize(
    ("schema", "code", "output"),
    [
        ("shop", 0, ""),
        ("2027_sales", 0, ""),
        ("order", 0, ""),
        ("Shop", 1, "The schema Shop cannot be used"),
        ("a.b", 1, "The schema a.b"),
    ],
)
def test_a_schema_that_is_not_read_by_its_plain_name_is_refused(
    elsewhere: Settings, monkeypatch: pytest.MonkeyPatch, schema: str, code: int, output: str
) -> None:
    engine = open_engine(elsewhere, "test")
    run(engine, f'CREATE SCHEMA "{schema}"')
    run(engine, "CREATE SCHEMA IF NOT EXISTS shop")
    engine.dispose()
    options = quote(f'-csearch_path="{schema}"')
    monkeypatch.setenv("EVENTIFY_DATABASE_URL", f"{elsewhere.database_url}?options={options}")
    for _ in range(2):
        done = CliRunner().invoke(main, ["migrate"])
        assert done.exit_code == code, done.output
        assert output in done.output
