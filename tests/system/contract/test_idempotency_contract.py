"""`Idempotency-Key` of all POSTs but those of purchases: done once, and answered as it is now."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

from shared.database.once import GONE
from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.contract.problems import check_invalid, check_problem
from tests.system.selling import (
    EVENTS,
    TICKET_TYPES,
    OnSale,
    buy,
    create,
    event_fields,
    new_key,
    put_types_on_sale,
    ticket_type_fields,
)

KEYS = "/api/keys/"
WEBHOOKS = "/api/webhooks/"
AT_ONCE = 8


class Post(NamedTuple):
    path: str
    body: dict[str, Any] | None

    def send(
        self, client: httpx.Client, key: dict[str, str], body: dict[str, Any] | None = None
    ) -> httpx.Response:
        return client.post(self.path, json=self.body if body is None else body, headers=key)


def is_replay(answer: httpx.Response) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


# By name: what makes a POST, given an organiser and a ticket type of theirs, and what it changes.
def _creating_event(_type: int, _organiser: httpx.Client) -> Post:
    return Post(EVENTS, event_fields(title=f"Concert {uuid4()}"))


def _creating_type(ticket_type: int, organiser: httpx.Client) -> Post:
    event = organiser.get(f"{TICKET_TYPES}{ticket_type}/").json()["event"]
    return Post(TICKET_TYPES, ticket_type_fields(event))


def _webhook(_type: int, _organiser: httpx.Client) -> Post:
    return Post(WEBHOOKS, {"url": "https://shop.example/"})


def _about_webhook(action: str, body: dict[str, Any] | None = None) -> Callable[..., Post]:
    def make(ticket_type: int, organiser: httpx.Client) -> Post:
        event = organiser.get(f"{TICKET_TYPES}{ticket_type}/").json()["event"]
        fields = {"url": "https://shop.example/", "event": event}
        return Post(f"{WEBHOOKS}{create(organiser, WEBHOOKS, fields)['id']}/{action}/", body)

    return make


POSTS: dict[str, Callable[[int, httpx.Client], Post]] = {
    "an event": _creating_event,
    "a ticket type": _creating_type,
    "an API key": lambda _type, _organiser: Post(KEYS, {"name": "Shop", "scopes": ["read"]}),
    "tickets": lambda ticket_type, _: Post(f"{TICKET_TYPES}{ticket_type}/capacity/", {"change": 5}),
    "a pause": lambda ticket_type, _: Post(f"{TICKET_TYPES}{ticket_type}/pause/", None),
    "a webhook": _webhook,
    "a webhook's secret": _about_webhook("rotate-secret"),
    "a webhook's test": _about_webhook("test"),
    "a webhook's rewind": _about_webhook("rewind", {"after": 0}),
    "a resumption": lambda ticket_type, _: Post(f"{TICKET_TYPES}{ticket_type}/resume/", None),
}


@pytest.fixture
def organiser(shop: Shop) -> httpx.Client:
    """A new one: `state` reads all that they have."""
    return shop.user()


@pytest.fixture(params=POSTS)
def post(request: pytest.FixtureRequest, organiser: httpx.Client, on_sale: OnSale) -> Post:
    return POSTS[request.param](on_sale(10), organiser)


def state(organiser: httpx.Client) -> dict[str, Any]:
    """All that an organiser has."""
    events = organiser.get(EVENTS, params={"owner": "me", "page_size": 100}).json()["results"]
    types = [organiser.get(TICKET_TYPES, params={"event": event["id"]}).json() for event in events]
    keys = organiser.get(KEYS).json()["results"]
    for key in keys:
        del key["last_used_at"]
    webhooks = organiser.get(WEBHOOKS).json()["results"]
    for webhook in webhooks:
        del webhook["failing_since"]
    return {"events": events, "types": types, "keys": keys, "webhooks": webhooks}


def test_a_repeated_request_is_answered_as_the_first_and_changes_nothing(
    organiser: httpx.Client, post: Post
) -> None:
    key = new_key()
    first = post.send(organiser, key)
    assert (first.is_success, is_replay(first)) == (True, False), first.text
    after = state(organiser)
    for _ in range(2):
        again = post.send(organiser, key)
        assert (again.status_code, is_replay(again)) == (first.status_code, True)
        shown = first.json()
        for secret, begins in (("key", "evk_"), ("secret", "whsec_")):
            assert shown.pop(secret, begins).startswith(begins)
        assert again.json() == shown
        for name in ("Location", "ETag", "Cache-Control"):
            assert again.headers.get(name) == first.headers.get(name)
    assert state(organiser) == after


def test_requests_with_one_key_at_the_same_moment_are_done_once(
    organiser: httpx.Client,
) -> None:
    (ticket_type,) = put_types_on_sale(organiser, {"capacity": 10})
    for make in POSTS.values():
        post, key = make(ticket_type, organiser), new_key()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda _: post.send(organiser, key), range(AT_ONCE)))  # noqa: B023
        assert all(answer.is_success for answer in answers), [a.text for a in answers]
        assert [is_replay(answer) for answer in answers].count(False) == 1
    has = state(organiser)
    assert (len(has["events"]), len(has["keys"]), len(has["webhooks"])) == (2, 1, 4)
    assert sorted(page["count"] for page in has["types"]) == [0, 2]
    assert organiser.get(f"{TICKET_TYPES}{ticket_type}/").json()["capacity"] == 15


def test_a_key_is_for_one_request_of_an_account_whatever_its_path(
    organiser: httpx.Client, buyer: httpx.Client, post: Post, on_sale: OnSale
) -> None:
    key, ticket_type = new_key(), on_sale(10)
    assert post.send(organiser, key).is_success
    others = [make(ticket_type, organiser) for make in POSTS.values()]
    after = state(organiser)
    for answer in (
        *(other.send(organiser, key) for other in others if other != post),
        buy(organiser, ticket_type, **key),
    ):
        check_problem(answer, 422, "idempotency_key_reused")
    assert state(organiser) == after
    # Another account has keys of its own.
    assert not is_replay(buy(buyer, ticket_type, **key))


def test_a_purchases_key_is_no_other_requests(
    organiser: httpx.Client, post: Post, on_sale: OnSale
) -> None:
    key = new_key()
    assert buy(organiser, on_sale(10), **key).status_code == 202
    check_problem(post.send(organiser, key), 422, "idempotency_key_reused")


def test_a_resolution_takes_no_key_of_another_request(organiser: httpx.Client) -> None:
    key = new_key()
    event = organiser.post(EVENTS, json=event_fields(), headers=key).json()["id"]
    extended = organiser.post(f"{EVENTS}{event}/extend-holds/", json={"seconds": 60}, headers=key)
    check_problem(extended, 422, "idempotency_key_reused")


def test_a_refusal_binds_no_key(
    organiser: httpx.Client, buyer: httpx.Client, on_sale: OnSale
) -> None:
    key, address = new_key(), f"{TICKET_TYPES}{on_sale(10)}/capacity/"
    event = buyer.post(EVENTS, json=event_fields()).json()["id"]
    stale = {"If-Match": '"stale"'}
    for refused in (
        organiser.post(EVENTS, json={}, headers=key),
        organiser.post(TICKET_TYPES, json=ticket_type_fields(event), headers=key),
        organiser.post(KEYS, json={"name": "x", "scopes": []}, headers=key),
        organiser.post(WEBHOOKS, json={"url": "https://10.0.0.1/"}, headers=key),
        organiser.post(address, json={"change": -11}, headers=key),
        organiser.post(address, json={"change": 5}, headers=key | stale),
    ):
        assert refused.status_code in (400, 403, 412)
    done = organiser.post(address, json={"change": 5}, headers=key)
    assert (done.status_code, is_replay(done)) == (200, False)


def test_a_replay_outranks_every_refusal_and_repeats_nothing(
    organiser: httpx.Client, on_sale: OnSale
) -> None:
    address = f"{TICKET_TYPES}{on_sale(10)}/"
    read = {"If-Match": organiser.get(address).headers["ETag"]}
    withdrawal, pause = new_key() | read, new_key()
    withdrawn = organiser.post(f"{address}capacity/", json={"change": -10}, headers=withdrawal)
    assert withdrawn.json()["capacity"] == 0
    assert organiser.post(f"{address}pause/", headers=pause).json()["paused_at"]
    assert organiser.post(f"{address}resume/").json()["paused_at"] is None
    # Its ETag is stale by now, and nothing is left to withdraw.
    again = organiser.post(f"{address}capacity/", json={"change": -10}, headers=withdrawal)
    assert (again.status_code, again.json()["capacity"], is_replay(again)) == (200, 0, True)
    # A late retry does not pause what was resumed.
    late = organiser.post(f"{address}pause/", headers=pause)
    assert (late.status_code, late.json()["paused_at"], is_replay(late)) == (200, None, True)


def test_a_replay_shows_what_was_made_as_it_is_now(organiser: httpx.Client) -> None:
    key, body = new_key(), event_fields()
    event = organiser.post(EVENTS, json=body, headers=key).json()
    changed = organiser.patch(f"{EVENTS}{event['id']}/", json={"title": "Another"})
    again = organiser.post(EVENTS, json=body, headers=key)
    assert again.json() == changed.json()
    assert again.headers["ETag"] == changed.headers["ETag"]


@pytest.mark.parametrize("made", ["an event", "a ticket type", "an API key", "a webhook"])
def test_what_was_deleted_is_not_made_again(
    organiser: httpx.Client, on_sale: OnSale, made: str
) -> None:
    post, key = POSTS[made](on_sale(10), organiser), new_key()
    row = post.send(organiser, key).json()["id"]
    assert organiser.delete(f"{post.path}{row}/").status_code == 204
    before = state(organiser)
    again = post.send(organiser, key)
    assert check_problem(again, 404, "not_found")["detail"] == GONE
    assert is_replay(again)
    assert state(organiser) == before


def test_a_replay_shows_an_api_key_that_has_expired_since(organiser: httpx.Client) -> None:
    key, soon = new_key(), datetime.now(UTC) + timedelta(seconds=1)
    post = Post(KEYS, {"name": "Shop", "scopes": ["read"], "expires_at": soon.isoformat()})
    made = post.send(organiser, key)
    assert made.status_code == 201

    def refused_anew() -> None:
        check_invalid(post.send(organiser, {}), "expires_at")

    eventually(refused_anew)
    again = post.send(organiser, key)
    assert (again.status_code, again.json()["id"]) == (201, made.json()["id"])


def test_an_api_key_and_its_owner_have_the_same_keys(shop: Shop, organiser: httpx.Client) -> None:
    scopes = {"name": "Shop", "scopes": ["manage"]}
    secret = create(organiser, KEYS, scopes)["key"]
    server, key, body = shop.client(secret), new_key(), event_fields()
    event = server.post(EVENTS, json=body, headers=key).json()
    again = organiser.post(EVENTS, json=body, headers=key)
    assert (again.json(), is_replay(again)) == (event, True)


def test_a_malformed_key_is_named(organiser: httpx.Client, post: Post) -> None:
    before = state(organiser)
    for bad in ("", "x" * 256, '"a", "b"'):
        check_invalid(post.send(organiser, {"Idempotency-Key": bad}), "Idempotency-Key")
    assert state(organiser) == before
