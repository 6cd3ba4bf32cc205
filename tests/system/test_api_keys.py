"""API keys over HTTP: two gateways and a catalog as processes, with one database."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import Engine

from gateway.accounts import store as accounts
from gateway.rate_limits.of_resolutions import EXTENSIONS
from shared.auth.caller import KeyScope
from shared.auth.mint_tokens import mint_tokens
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.free_port import free_port
from tests.support.gateways import running_gateway
from tests.support.servers import new_database
from tests.support.services import running_service
from tests.support.waiting import eventually
from tests.system.contract.routes import UNKNOWN_PURCHASE
from tests.system.selling import (
    EVENTS,
    PURCHASES,
    TICKET_TYPES,
    event_fields,
    ticket_type_fields,
)

KEYS = "/api/keys/"
# Which scope a key needs for each operation; None: it takes the user's own token. A new operation
# must find its place here.
SCOPES: dict[str, KeyScope | None] = {
    f"{resource}.{verb}": scope
    for scope, resource, *verbs in (
        (None, "accounts", "update", "change_password", "delete"),
        (None, "api_keys", "create", "list", "revoke"),
        (KeyScope.READ, "accounts", "read"),
        (KeyScope.READ, "events", "list", "read"),
        (KeyScope.READ, "ticket_types", "list", "read"),
        (KeyScope.READ, "purchases", "list", "read", "stream"),
        (KeyScope.READ, "feed", "read", "export_ndjson", "export_csv"),
        (KeyScope.READ, "live", "read", "stream", "history"),
        (KeyScope.READ, "audits", "list", "read"),
        (KeyScope.READ, "webhooks", "list", "read", "list_deliveries"),
        (KeyScope.PURCHASE, "purchases", "create", "release"),
        (KeyScope.PAYMENTS, "purchases", "confirm", "cancel"),
        (KeyScope.PAYMENTS, "holds", "extend"),
        (KeyScope.MANAGE, "events", "create", "replace", "update", "delete", "set_notice"),
        (KeyScope.MANAGE, "ticket_types", "create", "replace", "update", "delete"),
        (KeyScope.MANAGE, "ticket_types", "change_capacity", "pause", "resume"),
        (KeyScope.MANAGE, "audits", "create"),
        (KeyScope.MANAGE, "webhooks", "create", "update", "delete", "rotate_secret"),
        (KeyScope.MANAGE, "webhooks", "test", "rewind"),
    )
    for verb in verbs
}
PUBLIC_RESOURCES = ("tokens.", "sales.", "operation.")
CATALOG_PATHS = ("/api/events/", "/api/ticket-types/")
# Of events, but not the catalog's.
GATEWAYS_RESOURCES = ("holds.", "feed.", "live.", "audits.")


class System(NamedTuple):
    gateways: list[httpx.Client]
    catalog: httpx.Client
    tokens: Iterator[str]
    engine: Engine

    @property
    def servers(self) -> list[httpx.Client]:
        return [*self.gateways, self.catalog]


@pytest.fixture(scope="module")
def system(postgres_url: str, keys_dir: Path) -> Iterator[System]:
    port = free_port()
    catalog_url = f"http://127.0.0.1:{port}"
    with new_database(postgres_url) as url:
        settings = Settings(
            database_url=url,
            keys_dir=keys_dir,
            catalog_port=port,
            catalog_url=catalog_url,
            sign_in_rate_burst=0,
            catalog_write_rate_burst=0,
            purchase_rate_burst=3,
            purchase_rate_per_second=0.01,
        )
        engine = open_engine(settings, "test")
        with engine.begin() as connection:
            tokens = iter(list(mint_tokens(connection, settings, [f"user{n}" for n in range(30)])))
        with (
            running_service("catalog", settings, f"{catalog_url}/readyz"),
            running_gateway(settings) as first,
            running_gateway(settings) as second,
            httpx.Client(base_url=catalog_url, timeout=30) as catalog,
        ):
            yield System([first, second], catalog, tokens, engine)
        engine.dispose()


@pytest.fixture
def gateway(system: System) -> httpx.Client:
    return system.gateways[0]


@pytest.fixture
def owner(system: System) -> dict[str, str]:
    """The headers of a new user's own token."""
    return bearer(next(system.tokens))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def make_key(gateway: httpx.Client, owner: dict[str, str], *scopes: str, **more: Any) -> Any:
    body = {"name": "Checkout", "scopes": scopes or list(KeyScope)} | more
    made = gateway.post(KEYS, json=body, headers=owner)
    assert made.status_code == 201, made.text
    return made.json()


def test_a_key_is_shown_once_and_listed_without_its_secret(
    gateway: httpx.Client, owner: dict[str, str]
) -> None:
    expires_at = datetime.now(UTC) + timedelta(days=1)
    made = make_key(gateway, owner, "read", "purchase", expires_at=expires_at.isoformat())
    secret = made.pop("key")
    assert secret.startswith("evk_")
    second = make_key(gateway, owner)
    listed = gateway.get(KEYS, headers=owner, params={"page_size": 1}).json()
    assert listed["count"] == 2
    assert [one["id"] for one in listed["results"]] == [second["id"]]
    listed = gateway.get(listed["next"], headers=owner)
    assert listed.json()["results"] == [made]
    assert secret not in listed.text
    assert datetime.fromisoformat(made["expires_at"]) == expires_at
    assert made["last_used_at"] is None

    def used() -> None:
        (found,) = [
            one for one in gateway.get(KEYS, headers=owner).json()["results"] if one == made
        ] or [None]
        assert found is None

    assert gateway.get("/api/users/me/", headers=bearer(secret)).status_code == 200
    eventually(used)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["read"]}, "name"),
        ({"name": " ", "scopes": ["read"]}, "name"),
        ({"name": "x" * 101, "scopes": ["read"]}, "name"),
        ({"name": "x"}, "scopes"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["read", "read"]}, "scopes"),
        ({"name": "x", "scopes": ["all"]}, "scopes.0"),
        ({"name": "x", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "x", "scopes": ["read"], "expires_at": "2099-01-01T00:00:00"}, "expires_at"),
        ({"name": "x", "scopes": ["read"], "owner": 1}, "owner"),
    ],
)
def test_a_wrong_field_is_named(
    gateway: httpx.Client, owner: dict[str, str], body: dict[str, Any], field: str
) -> None:
    refused = gateway.post(KEYS, json=body, headers=owner)
    assert refused.status_code == 400
    assert set(refused.json()["errors"]) == {field}


def test_only_its_owner_can_delete_a_key_and_once(system: System, gateway: httpx.Client) -> None:
    owner, other = bearer(next(system.tokens)), bearer(next(system.tokens))
    made = make_key(gateway, owner)
    path = f"{KEYS}{made['id']}/"
    assert gateway.delete(path, headers=other).status_code == 404
    assert gateway.get(KEYS, headers=other).json()["results"] == []
    assert gateway.delete(path, headers=owner).status_code == 204
    assert gateway.delete(path, headers=owner).status_code == 404
    assert gateway.get(KEYS, headers=owner).json()["results"] == []


def test_a_deleted_key_is_dead_everywhere_within_a_second(
    system: System, owner: dict[str, str]
) -> None:
    made = make_key(system.gateways[0], owner)
    kept = bearer(make_key(system.gateways[0], owner)["key"])
    # At once, also where it was not made.
    check_live(system, bearer(made["key"]))
    deleted = system.gateways[1].delete(f"{KEYS}{made['id']}/", headers=owner)
    assert deleted.status_code == 204
    check_dead_within_a_second(system, bearer(made["key"]))
    check_live(system, kept)


def check_live(system: System, *callers: dict[str, str]) -> None:
    for server in system.servers:
        for caller in callers:
            assert server.get(EVENTS, headers=caller).status_code == 200


def check_dead_within_a_second(system: System, *callers: dict[str, str]) -> None:
    deadline = time.monotonic() + 1

    def dead(server: httpx.Client, caller: dict[str, str]) -> None:
        refused = server.get(EVENTS, headers=caller)
        assert (refused.status_code, refused.json().get("code")) == (401, "token_not_valid")
        assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]

    for server in system.servers:
        for caller in callers:
            eventually(partial(dead, server, caller), within_seconds=deadline - time.monotonic())


def test_a_change_of_password_ends_tokens_everywhere_within_a_second_and_no_keys(
    system: System, gateway: httpx.Client
) -> None:
    account = {"username": "mira", "password": "copper-lamp-17"}
    assert gateway.post("/api/users/", json=account).status_code == 201
    token = bearer(gateway.post("/api/token/", json=account).json()["access"])
    key = bearer(make_key(gateway, token)["key"])
    check_live(system, token, key)
    passwords = {"current_password": account["password"], "new_password": "amber-tram-43"}
    changed = gateway.post("/api/users/me/password/", json=passwords, headers=token)
    assert changed.status_code == 200
    check_dead_within_a_second(system, token)
    check_live(system, key)


def test_a_locked_accounts_token_and_keys_are_dead_everywhere_within_a_second(
    system: System, gateway: httpx.Client, owner: dict[str, str]
) -> None:
    key = bearer(make_key(gateway, owner)["key"])
    check_live(system, owner, key)
    user_id = gateway.get("/api/users/me/", headers=owner).json()["id"]
    accounts.lock(system.engine, user_id)
    check_dead_within_a_second(system, owner, key)
    accounts.unlock(system.engine, user_id)
    eventually(lambda: check_live(system, key))
    check_dead_within_a_second(system, owner)


def test_an_expired_key_is_refused(gateway: httpx.Client, owner: dict[str, str]) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=2)
    key = bearer(make_key(gateway, owner, expires_at=soon.isoformat())["key"])
    assert gateway.get("/api/users/me/", headers=key).status_code == 200

    def refused() -> None:
        assert gateway.get("/api/users/me/", headers=key).status_code == 401

    eventually(refused)
    assert datetime.now(UTC) >= soon


def test_a_key_acts_as_its_owner(gateway: httpx.Client, owner: dict[str, str]) -> None:
    key = bearer(make_key(gateway, owner)["key"])
    me = gateway.get("/api/users/me/", headers=owner).json()
    assert gateway.get("/api/users/me/", headers=key).json() == me
    created = gateway.post(EVENTS, json=event_fields(), headers=key)
    assert created.json()["owner"] == me["id"]


class Shop(NamedTuple):
    """A gateway, a key of an event's owner, and ticket types of that event."""

    gateway: httpx.Client
    owner: dict[str, str]
    key: dict[str, str]
    types: list[int]

    def buy(self, buyer: str | None, *, cart: bool = False, **headers: str) -> httpx.Response:
        lines = [{"ticket_type": one, "quantity": 1} for one in self.types]
        body: dict[str, Any] = {"items": lines} if cart else lines[0]
        body |= {} if buyer is None else {"buyer": buyer}
        return self.gateway.post(PURCHASES, json=body, headers=self.key | headers)


@pytest.fixture
def shop(gateway: httpx.Client, owner: dict[str, str]) -> Shop:
    key = bearer(make_key(gateway, owner)["key"])
    event = gateway.post(EVENTS, json=event_fields(), headers=key).json()["id"]
    types = [
        gateway.post(TICKET_TYPES, json=ticket_type_fields(event), headers=key).json()["id"]
        for _ in range(2)
    ]
    return Shop(gateway, owner, key, types)


def test_a_key_of_the_events_owner_buys_for_others(shop: Shop) -> None:
    bought = [shop.buy("theo"), shop.buy("mira", cart=True), shop.buy(None)]
    assert [answer.status_code for answer in bought] == [202, 202, 202]
    assert [answer.json().get("buyer") for answer in bought] == ["theo", "mira", None]
    for answer in bought:
        read = shop.gateway.get(f"{PURCHASES}{answer.json()['id']}/", headers=shop.owner).json()
        assert read.get("buyer") == answer.json().get("buyer")
        assert ("buyer" in read) is (answer is not bought[2])
    listed = shop.gateway.get(PURCHASES, headers=shop.key, params={"buyer": "mira"}).json()
    assert [one["id"] for one in listed["results"]] == [bought[1].json()["id"]]
    assert listed["count"] == 1
    assert shop.gateway.get(PURCHASES, headers=shop.key).json()["count"] == 3


def test_each_buyer_has_a_rate_limit_of_his_own(shop: Shop) -> None:
    statuses = [shop.buy("theo").status_code for _ in range(6)]
    assert statuses[:3] == [202] * 3
    assert statuses[-1] == 429
    assert shop.buy("mira").status_code == 202


def test_what_an_account_buys_or_gets_wrong_stops_none_of_its_buyers(
    system: System, shop: Shop
) -> None:
    assert [shop.buy(None).status_code for _ in range(6)][-1] == 429
    assert shop.buy("theo").status_code == 202
    stranger = next(system.tokens)
    event = shop.gateway.post(EVENTS, json=event_fields(), headers=bearer(stranger)).json()["id"]
    foreign = shop.gateway.post(
        TICKET_TYPES, json=ticket_type_fields(event), headers=bearer(stranger)
    ).json()["id"]
    mistaken = shop._replace(types=[foreign])
    assert [mistaken.buy(f"theo {n}").status_code for n in range(6)][-1] == 429
    assert shop.buy("mira").status_code == 202


def test_a_token_releases_as_often_as_it_buys_and_a_key_as_often_as_a_shop(
    gateway: httpx.Client, owner: dict[str, str]
) -> None:
    key = bearer(make_key(gateway, owner)["key"])
    path = f"{PURCHASES}{UNKNOWN_PURCHASE}/release/"
    answers = {
        name: [gateway.post(path, headers=who) for _ in range(6)]
        for name, who in {"resolutions": owner, "resolutions-with-keys": key}.items()
    }
    for policy, of_policy in answers.items():
        assert all(f'"{policy}";r=' in answer.headers["RateLimit"] for answer in of_policy)
    assert [answer.status_code for answer in answers["resolutions"][:3]] == [404] * 3
    assert answers["resolutions"][-1].status_code == 429
    assert {answer.status_code for answer in answers["resolutions-with-keys"]} == {404}


def test_extensions_are_limited_whoever_asks(gateway: httpx.Client, owner: dict[str, str]) -> None:
    key = bearer(make_key(gateway, owner)["key"])
    answers = [
        gateway.post(
            "/api/events/999999999/extend-holds/",
            json={"seconds": 1},
            headers=key | {"Idempotency-Key": f"{n}"},
        )
        for n in range(EXTENSIONS.burst + 50)
    ]
    assert all('"extensions";r=' in answer.headers["RateLimit"] for answer in answers)
    assert answers[EXTENSIONS.burst - 1].status_code == 404
    assert answers[-1].status_code == 429


def test_another_buyer_is_another_body_for_an_idempotency_key(shop: Shop) -> None:
    key = {"Idempotency-Key": "order-1"}
    first = shop.buy("theo", **key)
    assert shop.buy("theo", **key).json()["id"] == first.json()["id"]
    assert shop.buy("mira", **key).json()["code"] == "idempotency_key_reused"


def test_nobody_but_the_events_owner_names_a_buyer(system: System, shop: Shop) -> None:
    stranger = bearer(make_key(shop.gateway, bearer(next(system.tokens)))["key"])
    not_his = shop._replace(key=stranger)
    for cart in (False, True):
        refused = not_his.buy("theo", cart=cart)
        assert (refused.status_code, refused.json()["code"]) == (403, "not_your_event")
        assert '"purchases";r=' in refused.headers["RateLimit"]
    # Other names do not make it more requests than the account's own.
    answers = [not_his.buy(f"theo {n}").status_code for n in range(6)]
    assert answers[-1] == 429
    # Nor do ticket types that there are not, in another line.
    stranger = bearer(make_key(shop.gateway, bearer(next(system.tokens)))["key"])
    answers = [
        shop._replace(key=stranger, types=[10**9 + n, shop.types[0]])
        .buy(f"theo {n}", cart=True)
        .status_code
        for n in range(6)
    ]
    assert (answers[0], answers[-1]) == (403, 429)
    with_token = shop._replace(key=shop.owner).buy("theo")
    assert with_token.status_code == 400
    assert set(with_token.json()["errors"]) == {"buyer"}


def test_every_operation_takes_a_key_of_its_scope_alone(
    system: System, owner: dict[str, str]
) -> None:
    gateway = system.gateways[0]
    keys = {scope: bearer(make_key(gateway, owner, scope)["key"]) for scope in KeyScope}
    document = gateway.get("/api/schema/").json()
    operations = {
        operation["operationId"]: (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    is_public = {name for name in operations if name.startswith(PUBLIC_RESOURCES)}
    assert operations.keys() == SCOPES.keys() | is_public | {"accounts.create"}
    for name, wanted in SCOPES.items():
        method, path, operation = operations[name]
        of_keys = [] if wanted is None else [{"apiKey": []}]
        assert operation["security"] == [{"bearerAuth": []}, *of_keys], name
        assert operation.get("x-key-scope") == wanted, name
        row = UNKNOWN_PURCHASE if path.startswith(PURCHASES) else "1"
        address = re.sub(r"{\w+}", row, path)
        is_gateways = name.startswith(GATEWAYS_RESOURCES)
        is_catalogs = path.startswith(CATALOG_PATHS) and not is_gateways
        servers = [gateway] + [system.catalog] * is_catalogs
        for server in servers:
            for scope, key in keys.items():
                answer = server.request(method, address, headers=key)
                is_refused = answer.status_code == 403 and answer.json()["code"] == "out_of_scope"
                assert is_refused is (scope is not wanted), (name, scope, answer.text)
