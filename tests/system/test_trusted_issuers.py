"""Organisers and buyers who sign in elsewhere, over HTTP from the real processes."""

import httpx

from tests.support.issuers import Issuer
from tests.system.conftest import Shop
from tests.system.selling import EVENTS, PURCHASES, TICKET_TYPES, WAIT, buy, put_on_sale


def client_of(shop: Shop, issuer: Issuer, sub: str) -> httpx.Client:
    """A client with a token from the issuer's token endpoint."""
    answer = httpx.post(f"{issuer.url}/token", data={"sub": sub})
    return shop.client(answer.json()["access_token"])


def test_with_a_token_of_a_trusted_issuer_one_sells_buys_and_polls(
    shop: Shop, issuer: Issuer
) -> None:
    organiser, buyer, stranger = (
        client_of(shop, issuer, sub) for sub in ("auth0|olga", "auth0|theo", "auth0|eve")
    )
    ticket_type = put_on_sale(organiser, 2)
    event = buyer.get(f"{TICKET_TYPES}{ticket_type}/").json()["event"]
    assert buyer.get(f"{EVENTS}{event}/").json()["owner"] == me(organiser)
    changed = {"title": "Mine"}
    assert buyer.patch(f"{EVENTS}{event}/", json=changed).status_code == 403
    assert organiser.patch(f"{EVENTS}{event}/", json=changed).status_code == 200

    with shop.decisions_suspended():
        accepted = buy(buyer, ticket_type)
        assert accepted.status_code == 202, accepted.text
        purchase = f"{PURCHASES}{accepted.json()['id']}/"
        assert buyer.get(purchase).json()["status"] == "queued"
    assert buyer.get(purchase, params={"wait": 20}).json()["status"] == "confirmed"
    assert stranger.get(purchase).status_code == 404

    # The buyer comes back with another token, of a new key, and is the same user.
    issuer.kid = issuer.add_key()
    again = client_of(shop, issuer, "auth0|theo")
    assert me(again) == me(buyer)
    assert buy(again, ticket_type, **WAIT).status_code == 201
    assert again.get(PURCHASES).json()["count"] == 2
    with again.stream("GET", purchase, headers={"Accept": "text/event-stream"}) as stream:
        assert stream.status_code == 200
    assert buy(stranger, ticket_type, **WAIT).json()["code"] == "not_enough_tickets"
    report = shop.audit()
    assert report["ok"], report


def me(client: httpx.Client) -> int:
    id_: int = client.get("/api/users/me/").json()["id"]
    return id_
