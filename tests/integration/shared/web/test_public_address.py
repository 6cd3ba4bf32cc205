"""A gateway with a public URL that trusts no proxy: no request can change the URL."""

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine

from shared.auth.keys import SigningKey
from shared.auth.tokens import mint
from shared.config.settings import Settings
from shared.free_port import free_port
from tests.integration.gateway.test_catalog_proxy import stand_in
from tests.support.factories import add_ticket_type, add_user
from tests.support.gateways import running_app
from tests.support.services import running_service

FORGED = {
    "Host": "evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-For": "198.51.100.1",
}


@pytest.fixture
def serving(settings: Settings) -> Iterator[str]:
    given = settings.model_dump(include=settings.model_fields_set)
    settings = Settings(
        **given,
        gateway_port=free_port(),
        catalog_url=f"http://127.0.0.1:{free_port()}",
        public_url="https://shop.example/tickets/",
        trusted_proxies="",
    )
    url = f"http://127.0.0.1:{settings.gateway_port}"
    with (
        running_app(stand_in, settings.catalog_url),
        running_service("gateway", settings, f"{url}/readyz"),
    ):
        yield url


def test_all_links_begin_with_the_public_url(
    serving: str, engine: Engine, settings: Settings, signing_key: SigningKey
) -> None:
    buyer = mint(settings, signing_key, add_user(engine), "access")
    headers = {"Authorization": f"Bearer {buyer}", **FORGED}
    body = {"ticket_type": add_ticket_type(engine, 5), "quantity": 1}
    with httpx.Client(base_url=serving, headers=headers, timeout=20) as client:
        for _ in range(2):
            bought = client.post("/api/ticket-purchases/", json=body)
            address = f"/tickets/api/ticket-purchases/{bought.json()['id']}/"
            assert bought.headers["Location"] == address
        page = client.get("/api/ticket-purchases/?page_size=1").json()
        link = "https://shop.example/tickets/api/ticket-purchases/?page_size=1&page=2"
        assert page["next"] == link

        forwarded = dict(client.get("/api/events/").json()["headers"])
        assert {name: value for name, value in forwarded.items() if name.startswith("x-forw")} == {
            "x-forwarded-proto": "https",
            "x-forwarded-host": "shop.example",
            "x-forwarded-prefix": "/tickets",
        }
        for asked, location in {
            "/api/events/elsewhere/": "/tickets/api/events/1/",  # the catalog's own
            "/api/events?a=1": "/tickets/api/events/?a=1",
            "/console": "/tickets/console/",
        }.items():
            assert client.get(asked).headers["Location"] == location
        document = client.get("/api/schema/").json()
        assert document["servers"] == [{"url": "https://shop.example/tickets"}]

        own = {"Origin": "https://shop.example"}
        assert client.post("/api/users/", headers=own, json={}).status_code == 400
        other = {"Origin": "https://evil.example"}  # which is what Host says
        assert client.post("/api/users/", headers=other, json={}).status_code == 403
