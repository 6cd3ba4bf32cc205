"""The id of another user's row gives no right to read or change it."""

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import redis

from tests.system.conftest import Shop
from tests.system.hostile.target import EVENT, PASSWORD, Target
from tests.system.selling import sale_held

PURCHASES = "/api/ticket-purchases/"
EVERYONE_READS = [
    "/api/events/",
    "/api/events/{id}/",
    "/api/ticket-types/",
    "/api/ticket-types/{id}/",
]
# What a signed-in stranger tries, and the answer.
REFUSALS = [
    *((method, "/api/events/{id}/", 403) for method in ("PUT", "PATCH", "DELETE")),
    ("PUT", "/api/events/{id}/notice/", 403),
    *((method, "/api/sales/{id}/", 404) for method in ("GET", "HEAD")),  # it is not published
    *((method, "/api/ticket-types/{id}/", 403) for method in ("PUT", "PATCH", "DELETE")),
    *(
        ("POST", f"/api/ticket-types/{{id}}/{change}/", 403)
        for change in ("capacity", "pause", "resume")
    ),
    ("POST", "/api/ticket-types/", 403),  # it names somebody else's event
    *(
        (method, f"{PURCHASES}{{id}}/{read}", 404)
        for method in ("GET", "HEAD")
        for read in ("", "events/")
    ),
    *(("POST", f"{PURCHASES}{{id}}/{to}/", 404) for to in ("confirm", "release", "cancel")),
    ("POST", "/api/events/{id}/extend-holds/", 403),
    ("DELETE", "/api/keys/{id}/", 404),
    *(
        (method, f"/api/events/{{id}}/{read}/", 403)
        for method in ("GET", "HEAD")
        for read in (
            *("ledger", "ledger/ndjson", "ledger/csv", "live", "live/events", "live/history"),
            *("audits", "audits/{audit}"),
        )
    ),
    ("POST", "/api/events/{id}/audits/", 403),
    *((method, "/api/webhooks/{id}/", 404) for method in ("GET", "PATCH", "DELETE")),
    ("GET", "/api/webhooks/{id}/deliveries/", 404),
    *(("POST", f"/api/webhooks/{{id}}/{do}/", 404) for do in ("rotate-secret", "test", "rewind")),
    *((method, PURCHASES + "{id}/", 405) for method in ("POST", "PUT", "PATCH", "DELETE")),
]


@pytest.fixture
def stranger(shop: Shop) -> httpx.Client:
    return shop.user()


def test_everyone_signed_in_reads_what_is_on_sale(target: Target, stranger: httpx.Client) -> None:
    for path in EVERYONE_READS:
        answer = stranger.get(target.address(path))
        assert answer.status_code == 200
        assert answer.json() == target.organiser.get(target.address(path)).json()


@pytest.mark.parametrize("condition", [None, "*", "current", '"stale"'])
def test_a_stranger_changes_nothing(
    target: Target,
    stranger: httpx.Client,
    stored: Callable[[], dict[str, str]],
    condition: str | None,
) -> None:
    tag = stranger.get(target.address("/api/ticket-types/{id}/")).headers["ETag"]
    value = tag if condition == "current" else condition
    headers = {"Idempotency-Key": str(uuid4())}
    if value is not None:
        headers["If-Match"] = value
    before = stored()
    for method, path, status in REFUSALS:
        body = target.body_for(path)
        answer = stranger.request(method, target.address(path), json=body, headers=headers)
        assert answer.status_code == status, (method, path, answer.text)
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert stored() == before


def test_these_refusals_are_all_that_a_stranger_can_try(shop: Shop) -> None:
    paths = httpx.get(f"{shop.url}/api/schema/").json()["paths"]
    with_id = {
        (method.upper(), path)
        for path, operations in paths.items()
        if "{" in path
        for method in operations
    }
    tried = {(method, path) for method, path, _ in REFUSALS} | {
        ("GET", path) for path in EVERYONE_READS
    }
    assert with_id <= tried


def test_nobody_moves_a_ticket_type_under_another_ones_event(
    target: Target, stranger: httpx.Client, stored: Callable[[], dict[str, str]]
) -> None:
    own_event = stranger.post("/api/events/", json=EVENT).json()["id"]
    under_theirs = target.ticket_type_body
    under_own = under_theirs | {"event": own_event}
    own_type = stranger.post("/api/ticket-types/", json=under_own)
    before = stored()
    for method in ("PUT", "PATCH"):
        address = own_type.headers["Location"]
        moved = stranger.request(method, address, json=under_theirs, headers={"If-Match": "*"})
        assert moved.status_code == 403
        # Nor is somebody else's taken from them.
        address = target.address("/api/ticket-types/{id}/")
        taken = stranger.request(method, address, json=under_own)
        assert taken.status_code == 403
    assert stored() == before


# --- purchases ---


@pytest.fixture(params=["decided", "decided, not in Redis", "queued"])
def purchase(
    request: pytest.FixtureRequest, shop: Shop, target: Target
) -> Iterator[dict[str, Any]]:
    """A purchase of the buyer's, in each place where it can be found."""
    if request.param == "queued":
        with sale_held(shop.database_url, target.sold_type):
            body = {"ticket_type": target.sold_type, "quantity": 1}
            yield target.buyer.post(PURCHASES, json=body).json()
    else:
        if "not" in request.param:
            with redis.Redis.from_url(shop.redis_url) as client:
                client.flushall()
        yield target.buyer.get(f"{PURCHASES}{target.purchase}/").json()


def test_a_purchase_is_not_there_for_others(
    target: Target, stranger: httpx.Client, purchase: dict[str, Any]
) -> None:
    address = f"{PURCHASES}{purchase['id']}/"
    nobodys = stranger.get(f"{PURCHASES}{uuid4()}/").json()
    tag = target.buyer.get(address).headers["ETag"]
    asked_at = time.monotonic()
    for headers in (
        {},
        {"If-None-Match": tag},
        {"If-None-Match": "*"},
        {"If-None-Match": f'W/{tag}, "other"'},
        {"Accept": "text/event-stream"},
        {"Accept": "text/event-stream", "Last-Event-ID": purchase["id"]},
        {"Prefer": "wait=20"},
        {"X-User-ID": "1", "X-Forwarded-User": "1"},
    ):
        for query in ("", "?wait=20"):
            answer = stranger.get(address + query, headers=headers)
            assert answer.status_code == 404, (headers, query)
            # The same as for an id without a purchase.
            assert answer.json() == nobodys
            assert not {"etag", "retry-after"} & {name.lower() for name in answer.headers}
    assert stranger.get(f"{PURCHASES}{purchase['id'].upper()}/").status_code == 404
    as_owner = [user.get(f"{address}?user=1&owner=me") for user in (stranger, target.buyer)]
    assert [answer.status_code for answer in as_owner] == [400, 400]
    assert as_owner[0].json() == as_owner[1].json()
    # A wait does not show that there is something to wait for.
    assert time.monotonic() - asked_at < 10


def test_lists_never_show_another_ones_purchases(
    target: Target, stranger: httpx.Client, purchase: dict[str, Any]
) -> None:
    assert target.buyer.get(PURCHASES).json()["count"] >= 1
    for query in (
        *("", f"?ticket_type={target.sold_type}", f"?status={purchase['status']}"),
        "?page_size=100&page=1",
    ):
        listed = stranger.get(PURCHASES + query)
        assert (listed.status_code, listed.json()["results"]) == (200, []), query
        assert listed.json()["count"] == 0
    for query in ("?user=1", "?owner=1", "?user_id=1", f"?id={purchase['id']}"):
        assert stranger.get(PURCHASES + query).status_code == 400
    # All of an event's are its owner's to list, and not a buyer's either.
    of_event = {"event": purchase["event"]}
    for more in ({}, {"status": purchase["status"]}, {"cursor": ""}, {"buyer": "ann"}):
        for user in (stranger, target.buyer):
            refused = user.get(PURCHASES, params=of_event | more)
            assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    seen = target.organiser.get(PURCHASES, params=of_event).json()["results"]
    assert purchase["id"] in {one["id"] for one in seen}


def test_the_key_of_another_buyer_is_just_a_key(target: Target, stranger: httpx.Client) -> None:
    body, key = {"ticket_type": target.sold_type, "quantity": 1}, {"Idempotency-Key": str(uuid4())}
    theirs = target.buyer.post(PURCHASES, json=body, headers=key)
    mine = stranger.post(PURCHASES, json=body, headers=key)
    other_body = stranger.post(PURCHASES, json=body | {"quantity": 2}, headers=key)
    assert (theirs.status_code, mine.status_code, other_body.status_code) == (202, 202, 422)
    assert mine.json()["id"] != theirs.json()["id"]
    assert "Idempotency-Replayed" not in mine.headers


# --- accounts ---


def account(shop: Shop) -> tuple[str, dict[str, str]]:
    """The name of a new account, and its first pair of tokens."""
    credentials = {"username": f"ana{uuid4().hex}", "password": PASSWORD}
    assert httpx.post(f"{shop.url}/api/users/", json=credentials).status_code == 201
    signed_in = httpx.post(f"{shop.url}/api/token/", json=credentials)
    return credentials["username"], signed_in.json()


def test_refresh_tokens_are_their_own_alone(shop: Shop) -> None:
    (mine, my_pair), (other, other_pair) = account(shop), account(shop)
    as_me = httpx.Client(
        base_url=shop.url, headers={"Authorization": f"Bearer {my_pair['access']}"}, verify=False
    )
    with as_me:
        # The access token that comes along decides nothing: the next pair is the other one's.
        refreshed = as_me.post(
            "/api/token/refresh/", json={"refresh": other_pair["refresh"]}
        ).json()
        reported = as_me.get(
            "/api/users/me/", headers={"Authorization": f"Bearer {refreshed['access']}"}
        )
        assert reported.json()["username"] == other
        # Signing one out leaves the other in; and an access token refreshes nothing.
        out = as_me.post("/api/token/blacklist/", json={"refresh": refreshed["refresh"]})
        assert out.status_code == 200
        for token in (refreshed["refresh"], other_pair["access"], my_pair["access"]):
            refused = as_me.post("/api/token/refresh/", json={"refresh": token})
            assert refused.status_code == 401
        still = as_me.post("/api/token/refresh/", json={"refresh": my_pair["refresh"]})
        assert still.status_code == 200
        assert as_me.get("/api/users/me/").json()["username"] == mine
