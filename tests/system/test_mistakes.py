"""Mistakes of an operator: one sentence, and nothing is started."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import psutil
import pytest

from deploy.local.home import Home, make_home
from shared.free_port import free_port
from tests.support.command import eventify
from tests.support.servers import with_database
from tests.support.services import folder_for_servers

CHILDREN = psutil.Process().children
NOBODY = 65_534


@pytest.fixture
def home() -> Iterator[str]:
    with folder_for_servers() as folder:
        yield str(folder / "home")


def assert_one_error(failed: CompletedProcess[str], sentence: str, exit_code: int = 1) -> None:
    assert failed.returncode == exit_code
    assert failed.stderr.startswith("Error: ")
    assert sentence in failed.stderr
    assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["--gateways", "0"], {}, "--gateways 0 is not between 1 and 64"),
        (["--port", "65536"], {}, "--port 65536 is not between 1 and 65535"),
        (["--host", "nowhere.invalid"], {}, "Cannot listen on nowhere.invalid port"),
        ([], {"EVENTIFY_DATABASE_URL": "nonsense"}, "EVENTIFY_DATABASE_URL"),
        ([], {"EVENTIFY_DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "Connection refused"),
        ([], {"EVENTIFY_REDIS_URL": "nonsense"}, "EVENTIFY_REDIS_URL"),
        ([], {"EVENTIFY_REDIS_URL": "redis://127.0.0.1:none/0"}, "EVENTIFY_REDIS_URL"),
        ([], {"EVENTIFY_ACCEPT_WRITERS": "many"}, "EVENTIFY_ACCEPT_WRITERS"),
        ([], {"EVENTIFY_HOME": "/proc/nowhere"}, "Cannot write to /proc/nowhere"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_started(
    home: str, arguments: list[str], environment: dict[str, str], sentence: str
) -> None:
    before = CHILDREN()
    up = ("up", "--detach", "--port", str(free_port()), *arguments)
    assert_one_error(eventify(*up, **{"EVENTIFY_HOME": home} | environment), sentence)
    assert set(CHILDREN()) <= set(before)  # some may have ended


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://127.0.0.1:1/x", "Connection refused"),
        ("", "EVENTIFY_DATABASE_URL is not a URL"),
    ],
)
def test_a_database_that_a_file_of_secrets_names_is_not_replaced_by_an_embedded_one(
    home: str, tmp_path: Path, url: str, sentence: str
) -> None:
    (tmp_path / "eventify_database_url").write_text(url)
    up = ("up", "--detach", "--port", str(free_port()))
    failed = eventify(*up, EVENTIFY_HOME=home, EVENTIFY_SECRETS_DIR=str(tmp_path))
    assert_one_error(failed, sentence)
    assert not (Path(home) / "postgres").exists()


@pytest.mark.parametrize("variable", ["EVENTIFY_GATEWAY_PORT", "EVENTIFY_CATALOG_PORT"])
def test_a_taken_port_is_named_even_when_its_owner_would_share_it(home: str, variable: str) -> None:
    before = CHILDREN()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ports = {"EVENTIFY_GATEWAY_PORT": str(free_port()), variable: str(port)}
        failed = eventify("up", "--detach", EVENTIFY_HOME=home, **ports)
    assert_one_error(failed, f"port {port}: Address already in use")
    assert set(CHILDREN()) <= set(before)  # some may have ended


@pytest.mark.parametrize("chart", ["/nowhere/demo.png", "demo.txt"])
def test_a_chart_that_cannot_be_written_is_an_error_before_the_sale(home: str, chart: str) -> None:
    failed = eventify("demo", "--chart", chart, EVENTIFY_HOME=home)
    assert_one_error(failed, chart)
    assert failed.stdout == ""


def test_an_audit_that_could_not_run_is_not_taken_for_a_violation(
    home: str, postgres_url: str
) -> None:
    without_tables = with_database(postgres_url, "postgres")
    for database_url in ("", "postgresql://127.0.0.1:1/away", without_tables):
        failed = eventify("audit", EVENTIFY_HOME=home, EVENTIFY_DATABASE_URL=database_url)
        assert_one_error(failed, "The audit could not run: ", exit_code=2)
        assert failed.stdout == ""


@pytest.fixture
def anothers_home(home: str) -> Iterator[str]:
    """A home that the caller, who is not root, may not open."""
    make_home(Home(Path(home)))
    Path(home).chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    yield home
    if is_root:
        os.seteuid(0)
    Path(home).chmod(0o700)


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["status"], 1),
        (["down"], 1),
        (["up", "--detach"], 1),
        (["demo", "--chart", "/tmp/eventify-another-users.png"], 1),
        (["settings"], 1),
        (["audit"], 2),
    ],
)
def test_another_users_home_is_not_taken_for_an_empty_one(
    anothers_home: str, arguments: list[str], exit_code: int
) -> None:
    failed = eventify(*arguments, EVENTIFY_HOME=anothers_home)
    assert_one_error(failed, f"Cannot open {anothers_home}: Permission denied.", exit_code)


def test_another_users_home_does_not_matter_to_a_command_with_a_database(
    anothers_home: str,
) -> None:
    database_url = "postgresql://127.0.0.1:1/x"
    failed = eventify("audit", EVENTIFY_HOME=anothers_home, EVENTIFY_DATABASE_URL=database_url)
    assert_one_error(failed, "Connection refused", exit_code=2)
