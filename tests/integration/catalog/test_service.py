"""The catalog as a process of its own: its figures, its database, its stop."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from sqlalchemy import Engine, text

from shared.auth.keys import SigningKey
from shared.auth.tokens import mint
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.free_port import free_port
from tests.integration.catalog.conftest import url_of
from tests.integration.catalog.making import EVENT, make_event, make_user
from tests.support.factories import run
from tests.support.figures import figures
from tests.support.servers import unreachable
from tests.support.services import running_service
from tests.support.waiting import eventually


def test_answers_are_counted_by_route(catalog_url: str) -> None:
    labels = 'method="GET",route="/api/events/{id}/",service="catalog",status="401"'
    series = f"eventify_http_requests_total{{{labels}}}"
    before = figures(f"{catalog_url}/metrics").get(series, 0)
    httpx.get(f"{catalog_url}/api/events/7/")
    httpx.get(f"{catalog_url}/api/events/8/")
    counted = figures(f"{catalog_url}/metrics")
    assert counted[series] == before + 2
    assert counted['eventify_server_errors_total{service="catalog"}'] == 0


def test_a_user_whose_row_is_missing_can_create_nothing(
    catalog_url: str, catalog_settings: Settings, signing_key: SigningKey
) -> None:
    token = mint(catalog_settings, signing_key, 2**63 - 1, "access")
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(f"{catalog_url}/api/events/", headers=headers, json=EVENT)
    assert answer.status_code == 401


def test_an_event_keeps_a_currency_that_was_withdrawn(
    owner: httpx.Client, database: Engine
) -> None:
    event = make_event(owner)
    path = f"/api/events/{event['id']}/"
    run(database, "UPDATE events SET currency = 'BGN' WHERE id = :id", id=event["id"])
    read = owner.get(path).json()
    for answer in (
        owner.put(path, json=read),
        owner.patch(path, json={"currency": "BGN", "title": "Opera"}),
    ):
        assert (answer.status_code, answer.json()["currency"]) == (200, "BGN")
    other = owner.patch(path, json={"currency": "DEM"})
    assert (other.status_code, list(other.json()["errors"])) == (400, ["currency"])
    assert owner.patch(path, json={"currency": "EUR"}).status_code == 200
    again = owner.patch(path, json={"currency": "BGN"})
    assert (again.status_code, again.json()["errors"]) == (400, other.json()["errors"])


def test_without_its_database_the_catalog_answers_503_until_it_is_back(
    database_url: str, postgres_url: str, keys_dir: Path, signing_key: SigningKey
) -> None:
    settings = Settings(database_url=database_url, keys_dir=keys_dir, catalog_port=free_port())
    url = url_of(settings)
    headers = {"Authorization": f"Bearer {mint(settings, signing_key, 1, 'access')}"}

    def get(path: str) -> httpx.Response:
        return httpx.get(url + path, headers=headers)

    with running_service("catalog", settings, f"{url}/readyz"):
        with unreachable(postgres_url, database_url):
            for path in ("/readyz", "/api/events/"):
                assert (get(path).status_code, get(path).json()["code"]) == (503, "unavailable")
                assert int(get(path).headers["Retry-After"]) > 0
            assert get("/healthz").status_code == 200

        def back() -> None:
            assert get("/readyz").status_code == 200

        eventually(back)
        assert get("/api/events/").status_code == 200


def test_a_change_interrupted_by_a_stop_is_answered_with_503(
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
    assert int(answer.headers["Retry-After"]) > 0


def _assert_waits(engine: Engine) -> None:
    waits = (
        "SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event = 'relation'"
    )
    with engine.connect() as connection:
        assert connection.execute(text(waits)).first() is not None
