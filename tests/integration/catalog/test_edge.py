"""What holds for every route of the catalog: who may call, what is refused, what is described."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from deploy.local.servers.embedded import free_port
from shared.auth.keys import SigningKey
from shared.auth.tokens import mint
from shared.config.settings import Settings
from shared.database.engine import open_engine
from tests.conftest import run_admin
from tests.integration.catalog.conftest import url_of
from tests.integration.catalog.making import EVENT, make_event, make_user
from tests.support.figures import figures
from tests.support.services import running_service
from tests.support.waiting import eventually

PATHS = ["/api/events/", "/api/events/1/", "/api/ticket-types/", "/api/ticket-types/1/"]


def test_answers_are_counted_by_route(catalog_url: str) -> None:
    labels = 'method="GET",route="/api/events/{id}/",service="catalog",status="401"'
    series = f"eventify_http_requests_total{{{labels}}}"
    before = figures(f"{catalog_url}/metrics").get(series, 0)
    httpx.get(f"{catalog_url}/api/events/7/")
    httpx.get(f"{catalog_url}/api/events/8/")
    assert figures(f"{catalog_url}/metrics")[series] == before + 2


@pytest.mark.parametrize("path", PATHS)
def test_every_route_asks_who_calls(catalog_url: str, path: str) -> None:
    answer = httpx.get(catalog_url + path)
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    answer = httpx.get(catalog_url + path, headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 401


def test_a_token_that_expired_opens_nothing(
    catalog_url: str, catalog_settings: Settings, signing_key: SigningKey
) -> None:
    issued_at = int(time.time()) - catalog_settings.access_token_seconds - 1
    token = mint(catalog_settings, signing_key, 1, "access", issued_at=issued_at)
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{catalog_url}/api/events/", headers=headers).status_code == 401


def test_a_user_who_is_gone_can_create_nothing(
    catalog_url: str, catalog_settings: Settings, signing_key: SigningKey
) -> None:
    token = mint(catalog_settings, signing_key, 2**63 - 1, "access")
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(f"{catalog_url}/api/events/", headers=headers, json=EVENT)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/events/", "GET, HEAD, POST"),
        ("/api/ticket-types/", "GET, HEAD, POST"),
        ("/api/events/1/", "GET, HEAD, PUT, PATCH, DELETE"),
        ("/api/ticket-types/1/", "GET, HEAD, PUT, PATCH, DELETE"),
        ("/api/ticket-types/1/capacity/", "POST"),
        ("/api/ticket-types/1/pause/", "POST"),
        ("/api/ticket-types/1/resume/", "POST"),
    ],
)
def test_a_method_that_a_path_has_not_is_answered_with_those_it_has(
    owner: httpx.Client, path: str, allowed: str
) -> None:
    answer = owner.request("PROPFIND", path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"5", b"null", b'"x"', b"\xff", b"[" * 15_000),
        *(b'{"title": ' + b"9" * 5000, b'{"id": NaN}', b'{"id": -Infinity}', b"\xef\xbb\xbf{}"),
        *("{}".encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-32")),
    ],
    ids=lambda body: repr(body[:12]),
)
@pytest.mark.parametrize("path", ["/api/events/", "/api/ticket-types/"])
def test_a_body_that_is_no_json_object_is_refused(
    owner: httpx.Client, path: str, body: bytes
) -> None:
    answer = owner.post(path, content=body)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_strange_names_of_fields_are_refused_by_name(owner: httpx.Client) -> None:
    strange = {"\ud800": 1, "\0": "\0", "": None, "body": 1, "x" * 5_000: 1}
    path = f"/api/events/{make_event(owner)['id']}/"
    for method, address, body in (("POST", "/api/events/", EVENT), ("PATCH", path, {})):
        answer = owner.request(method, address, content=json.dumps(body | strange))
        assert answer.status_code == 400
        assert answer.json()["errors"].keys() == {"?", "\0", "", "body", "x" * 40}


def test_of_many_unknown_fields_a_few_are_named(owner: httpx.Client) -> None:
    answer = owner.post("/api/events/", json={f"{number:x}": 0 for number in range(1_000)})
    assert len(answer.json()["errors"]) == 10
    assert len(answer.content) < 2_000


@pytest.mark.parametrize(
    ("path", "query", "named"),
    [
        ("/api/events/", "ower=me", {"ower": ["Unknown query parameter. Did you mean owner?"]}),
        ("/api/events/", "owner=me&owner=1", {"owner": ["Send this parameter once."]}),
        ("/api/ticket-types/", "event_id=15", None),
        ("/api/ticket-types/", "ticket_type", None),
        ("/api/ticket-types/", "Event=1", None),
        ("/api/ticket-types/", "%00=1", None),
    ],
)
def test_an_unknown_query_parameter_is_refused_by_name(
    owner: httpx.Client, path: str, query: str, named: dict[str, list[str]] | None
) -> None:
    answer = owner.get(f"{path}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert len(answer.json()["errors"]) == 1
    assert named in (None, answer.json()["errors"])


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_write_takes_no_query(owner: httpx.Client, method: str) -> None:
    path = "/api/events/" if method == "POST" else f"/api/events/{make_event(owner)['id']}/"
    answer = owner.request(method, f"{path}?title=x", json=None if method == "DELETE" else EVENT)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["title"])


# Python reads all of these as numbers.
NOT_ONLY_DIGITS = ["1_0", "1.0", " 1", "1 ", "+1", "\uff11", "\u0661", "1e0", "0x1", "-1", "0", ""]


@pytest.mark.parametrize("value", NOT_ONLY_DIGITS)
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/ticket-types/", "event"),
        ("/api/ticket-types/", "page_size"),
        ("/api/events/", "page"),
    ],
)
def test_an_integer_in_a_query_is_ascii_digits(
    owner: httpx.Client, path: str, name: str, value: str
) -> None:
    answer = owner.get(path, params={name: value})
    assert answer.status_code == (404 if name == "page" else 400)
    assert answer.json().get("errors", {}).keys() == (set() if name == "page" else {name})


def test_a_body_is_json_whatever_it_is_called(owner: httpx.Client) -> None:
    for content_type in ("application/x-www-form-urlencoded", "text/plain; charset=latin-1"):
        headers = {"Content-Type": content_type}
        answer = owner.post("/api/events/", content=json.dumps(EVENT), headers=headers)
        assert answer.status_code == 201


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_refused(
    owner: httpx.Client, catalog_settings: Settings, announced: bool
) -> None:
    body = b" " * (catalog_settings.body_max_bytes + 1)
    answer = owner.post("/api/events/", content=body if announced else iter([body]))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_an_unknown_path_is_a_problem_too(owner: httpx.Client) -> None:
    answer = owner.get("/api/nothing/")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["X-Request-ID"]


def test_every_operation_is_described(catalog_url: str) -> None:
    document = httpx.get(f"{catalog_url}/api/schema/").json()
    assert document["openapi"].startswith("3.1")
    operations = {
        operation["operationId"]: operation
        for methods in document["paths"].values()
        for operation in methods.values()
    }
    assert len(operations) == 15
    for operation in operations.values():
        assert operation["summary"]
        assert operation["tags"] in (["Events"], ["Ticket types"])
        assert operation["security"] == [{"bearerAuth": []}]
        assert {"401", "503"} <= operation["responses"].keys()
        assert "422" not in operation["responses"]
        for status, response in operation["responses"].items():
            if status >= "4":
                assert list(response["content"]) == ["application/problem+json"]
    assert {"412", "428"} <= operations["replace_ticket_type"]["responses"].keys()
    assert "Problem" in document["components"]["schemas"]


def test_without_its_database_the_catalog_asks_for_wait_limit(
    database_url: str, postgres_url: str, keys_dir: Path, signing_key: SigningKey
) -> None:
    settings = Settings(database_url=database_url, keys_dir=keys_dir, catalog_port=free_port())
    url = url_of(settings)
    headers = {"Authorization": f"Bearer {mint(settings, signing_key, 1, 'access')}"}
    name = database_url.rpartition("/")[2]

    def get(path: str) -> httpx.Response:
        return httpx.get(url + path, headers=headers)

    with running_service("catalog", settings, f"{url}/readyz"):
        run_admin(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        run_admin(
            postgres_url,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        for path in ("/readyz", "/api/events/"):
            assert (get(path).status_code, get(path).json()["code"]) == (503, "unavailable")
            assert int(get(path).headers["Retry-After"]) > 0
        assert get("/healthz").status_code == 200
        run_admin(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

        def back() -> None:
            assert get("/readyz").status_code == 200

        eventually(back)
        assert get("/api/events/").status_code == 200


def test_a_change_that_a_stop_cuts_off_is_answered_with_a_problem(
    database_url: str, keys_dir: Path, signing_key: SigningKey
) -> None:
    settings = Settings(
        database_url=database_url, keys_dir=keys_dir, catalog_port=free_port(), shutdown_seconds=1
    )
    url = url_of(settings)
    engine = open_engine(settings, "test")
    user_id = make_user(engine, "ana")
    headers = {"Authorization": f"Bearer {mint(settings, signing_key, user_id, 'access')}"}
    with (
        running_service("catalog", settings, f"{url}/readyz") as process,
        httpx.Client(base_url=url, headers=headers, timeout=20) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        event = make_event(client)
        with engine.begin() as connection:
            connection.execute(text("LOCK TABLE events IN EXCLUSIVE MODE"))
            change = pool.submit(client.patch, f"/api/events/{event['id']}/", json={"title": "x"})
            eventually(lambda: _assert_waits(engine))
            process.terminate()
            answer = change.result()
    engine.dispose()
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0


def _assert_waits(engine: Engine) -> None:
    waits = (
        "SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event = 'relation'"
    )
    with engine.connect() as connection:
        assert connection.execute(text(waits)).first() is not None
