"""The logs of a whole system: JSON, known events, what can be followed, and nothing secret."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.operators import PROJECT
from tests.system.selling import PURCHASES, TICKET_TYPES, WAIT, buy, put_on_sale

LEVELS = {"debug", "info", "warning", "error", "exception"}
TABLE_ROW = re.compile(r"^\| `(\w+)` \| (?:info|warning|error|any) \|", re.MULTILINE)
DOCUMENTED = set(TABLE_ROW.findall((PROJECT / "docs" / "logs.md").read_text()))
PASSWORD, WRONG_PASSWORD = "four lamps in june", "a horse called wednesday"
KEY = "a key that nobody else may know"


def events_of(source: Path) -> Iterator[str]:
    """The names of the events that a module logs."""
    for node in ast.walk(ast.parse(source.read_text())):
        match node:
            case (
                ast.Call(func=ast.Name(id="CircuitBreaker"), args=[_, ast.Constant(event), *_])
                | ast.Call(func=ast.Name(id="Periodic"), args=[_, _, _, ast.Constant(event)])
            ):
                yield str(event)
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="logger"), attr=level), args=[event, *_]
            ) if level in LEVELS:
                names = [event.body, event.orelse] if isinstance(event, ast.IfExp) else [event]
                for name in names:
                    assert isinstance(name, ast.Constant), f"{source}: an event's name is constant"
                    yield name.value


def test_every_event_is_documented_and_nothing_else() -> None:
    packages = ("gateway", "catalog", "purchase_worker", "webhook_sender", "shared")
    sources = [path for package in packages for path in (PROJECT / package).rglob("*.py")]
    logged = {event for source in sources for event in events_of(source)}
    assert logged | {"library_message"} == DOCUMENTED


@pytest.fixture(scope="module")
def busy_shop(large_shop: Shop) -> tuple[Shop, list[str]]:
    """A shop in which much was tried, and its secrets."""
    visitor = large_shop.client()
    secrets = [PASSWORD, WRONG_PASSWORD, KEY]
    visitor.post("/api/users/", json={"username": "mira", "password": PASSWORD})
    for password in (WRONG_PASSWORD, PASSWORD):
        pair = visitor.post("/api/token/", json={"username": "mira", "password": password})
    secrets += pair.json().values()
    trade(large_shop.client(pair.json()["access"]))
    do_harm(large_shop, visitor, pair.json())
    return large_shop, [*secrets, *secrets_of(large_shop)]


def trade(mira: httpx.Client) -> None:
    ticket_type = put_on_sale(mira, 3)
    bought = buy(mira, ticket_type, **WAIT, **{"Idempotency-Key": KEY, "X-Request-ID": "bought"})
    assert bought.status_code == 201
    mira.post(f"{TICKET_TYPES}{ticket_type}/pause/")
    buy(mira, ticket_type, **{"X-Request-ID": "paused"})


def do_harm(shop: Shop, visitor: httpx.Client, pair: dict[str, str]) -> None:
    """What is not well-formed, not allowed, or makes the service fail."""
    header = {"Authorization": f"Bearer {pair['access']}x"}
    for body in (b"", b"{", b"\0", f'{{"password": "{PASSWORD}"'.encode(), b"[" * 20_000):
        for path in ("/api/users/", "/api/token/", "/api/token/refresh/", PURCHASES):
            visitor.post(path, content=body, headers=header)
    visitor.get("/api/users/me/", headers=header, params={"token": pair["access"]})
    visitor.post("/api/token/refresh/", json={"refresh": pair["refresh"]})
    with shop.database() as statements:
        # Every new user breaks a rule, and the database repeats the row: with the password's hash.
        statements.execute("ALTER TABLE users ADD CONSTRAINT nobody CHECK (id < 0) NOT VALID")
        failed = visitor.post("/api/users/", json={"username": "theo", "password": PASSWORD})
        assert failed.status_code == 500
        statements.execute("ALTER TABLE users DROP CONSTRAINT nobody")
    kill_a_child_of(shop, "worker-1")


def kill_a_child_of(shop: Shop, name: str) -> None:
    """It returns when the child's parent has logged it."""
    child = psutil.Process(shop.operator.processes()[name]["pid"]).children()[0]
    child.kill()

    def is_logged() -> None:
        assert f"pid:{child.pid} exited" in (shop.home.logs / f"{name}.log").read_text()

    eventually(is_logged)


def secrets_of(shop: Shop) -> list[str]:
    keys = [
        line
        for path in shop.home.keys.glob("*.pem")
        if not path.name.endswith(".pub.pem")
        for line in path.read_text().split("\n")
    ]
    private = [line for line in keys if len(line) == 64]
    password = re.search(r"://[^:]+:([^@]+)@", shop.database_url)
    assert private
    assert password is not None
    return [*private, password[1], "$argon2id$"]


def lines(shop: Shop) -> list[dict[str, Any]]:
    """Every line of the services; that each is JSON is what this asserts."""
    services = ("gateway", "catalog", "worker", "sweeper", "sender")
    files = [path for name in services for path in shop.home.logs.glob(f"{name}-*.log")]
    assert {path.stem.partition("-")[0] for path in files} == set(services)
    # What follows the last line break is still being written.
    return [as_json(line) for path in files for line in path.read_text().split("\n")[:-1]]


def as_json(line: str) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads(line)
    except ValueError:
        raise AssertionError(f"not JSON: {line}") from None
    return fields


def test_each_line_is_json_with_a_documented_event(busy_shop: tuple[Shop, list[str]]) -> None:
    logged = lines(busy_shop[0])
    assert {line["event"] for line in logged} <= DOCUMENTED
    for line in logged:
        assert {"level", "timestamp", "process", "logger"} <= line.keys(), line


def test_no_secret_is_in_any_line(busy_shop: tuple[Shop, list[str]]) -> None:
    shop, secrets = busy_shop

    def failure_is_logged() -> None:
        # The 500 is sent before its traceback is logged.
        crashed = [line for line in lines(shop) if line["event"] == "request_failed"]
        assert any("Failing row contains" in line["exception"] for line in crashed)

    eventually(failure_is_logged)
    for path in shop.home.logs.iterdir():
        text = path.read_text()
        # PostgreSQL's own log is the operator's, and tells of the row that broke the rule.
        wanted = [one for one in secrets if one != "$argon2id$" or path.name != "postgres.log"]
        assert [secret for secret in wanted if secret in text] == [], path.name


def test_a_request_is_followed_by_its_id_from_the_gateway_to_the_decision(
    busy_shop: tuple[Shop, list[str]],
) -> None:
    shop = busy_shop[0]
    logged = lines(shop)
    (answered,) = [line for line in logged if line.get("request_id") == "bought"]
    assert (answered["event"], answered["status"]) == ("request_answered", 201)
    (decided,) = [line for line in logged if "bought" in line.get("request_ids", ())]
    assert (decided["event"], decided["confirmed"]) == ("batch_decided", 1)
    # The first entry of its event issued the tickets.
    ((event,), ((first, last),)) = decided["events"], decided["numbers"]
    assert (first, last) == (2, 2)
    with shop.database() as statements:
        statements.execute(
            "SELECT r.request_id FROM ledger e JOIN requests r ON r.id = e.command_id"
            " WHERE e.event_id = %s AND e.number = %s",
            (event, first),
        )
        assert statements.fetchall() == [("bought",)]
    assert decided["process"] in ("worker", "sweeper")
    paused = {line["event"]: line for line in logged if line.get("request_id") == "paused"}
    assert paused["purchase_refused"]["code"] == "sale_paused"
    assert paused["request_answered"]["status"] == 400
