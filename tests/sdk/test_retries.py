"""The rules of retries (docs/api.md, "Retry safely"), by a clock that is not real."""

import itertools
from contextlib import suppress
from decimal import Decimal
from json import loads
from typing import Any

import httpx2
import pytest
from eventify_client import Client, DeadlineExceeded, KeyFile, KeyMismatch, errors

from tests.sdk.scripted_driver import (
    LOST,
    Scripted,
    ScriptedClient,
    ScriptedDriver,
    problem,
    purchase,
    purchases,
    stream,
)

IN_7_SECONDS = {
    "Date": "Sun, 22 Nov 2026 14:50:23 GMT",
    "Retry-After": "Sun, 22 Nov 2026 14:50:30 GMT",
}
PAGE = httpx2.Response(502, text="<html>Bad gateway</html>")
HALF = httpx2.Response(201, text='{"id": "p-')


@pytest.mark.parametrize(
    "failure",
    [LOST, *(problem(status) for status in (408, 429, 500, 502, 503, 504)), PAGE, HALF],
    ids=lambda failure: str(getattr(failure, "status_code", "lost")),
)
def test_what_may_pass_is_tried_again_with_the_same_key_and_body(failure: Scripted) -> None:
    driver = ScriptedDriver(failure, failure, purchase())
    bought = purchases(driver).buy({1: 2})
    assert (bought.status, bought.total_price) == ("confirmed", Decimal("10.00"))
    assert len(driver.requests) == 3
    assert len(driver.keys) == 1
    assert driver.bodies == [{"items": [{"ticket_type": 1, "quantity": 2}]}] * 3
    assert driver.sleeps == [0.25, 0.5]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 412, 413, 418, 422, 428])
def test_an_error_of_the_request_is_not_tried_again(status: int) -> None:
    driver = ScriptedDriver(problem(status, "a_later_code"))
    with pytest.raises(errors.APIError) as raised:
        purchases(driver).buy({1: 2})
    assert (raised.value.status, len(driver.requests)) == (status, 1)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "7"}, 7), (IN_7_SECONDS, 7), ({"Retry-After": "x"}, 0)],
)
def test_retry_after_is_kept_with_little_jitter(headers: dict[str, str], seconds: int) -> None:
    driver = ScriptedDriver(problem(503, headers=headers), purchase())
    purchases(driver).buy({1: 2})
    assert driver.sleeps == [seconds + 0.25]


def test_backoff_grows_up_to_twenty_seconds_with_full_jitter() -> None:
    driver = ScriptedDriver(*[LOST] * 9, purchase())
    purchases(driver, random=0.5).buy({1: 2}, timeout=None)
    assert driver.sleeps == [0.125, 0.25, 0.5, 1, 2, 4, 8, 10, 10]


def test_an_error_of_the_server_is_tried_again_a_few_times_only() -> None:
    driver = ScriptedDriver(problem(500, "server_error", {"X-Request-ID": "r-1"}))
    with pytest.raises(errors.ServerError) as raised:
        purchases(driver).buy({1: 2}, timeout=None)
    assert (len(driver.requests), raised.value.request_id) == (4, "r-1")


def test_the_deadline_ends_it_and_says_that_the_outcome_is_unknown() -> None:
    driver = ScriptedDriver(LOST, seconds_of_try=4)
    with pytest.raises(DeadlineExceeded, match="same key"):
        purchases(driver).buy({1: 2}, timeout=20)
    assert driver.now <= 20
    assert max(driver.reads) <= 20


def test_no_sleep_goes_beyond_the_deadline() -> None:
    """Nothing is unknown where each response said that the request was not accepted."""
    driver = ScriptedDriver(problem(429, "too_many_requests", {"Retry-After": "100"}))
    with pytest.raises(errors.TooManyRequests):
        purchases(driver).buy({1: 2}, timeout=20)
    assert driver.sleeps == []


@pytest.mark.parametrize("code", ["sale_not_open", "sale_paused", "all_held"])
def test_a_sale_is_waited_for_where_that_is_asked(code: str) -> None:
    closed = problem(400, code, {"Retry-After": "30"})
    driver = ScriptedDriver(closed, purchase())
    assert purchases(driver).buy({1: 2}, wait_for_sale=True).id == "p-1"
    assert (driver.sleeps, len(driver.keys)) == ([30.25], 1)
    with pytest.raises(errors.PurchaseRefused):
        purchases(ScriptedDriver(closed)).buy({1: 2})
    final = problem(400, code, {"Retry-After": "30"}, id="p-1")
    driver = ScriptedDriver(final)
    with pytest.raises(errors.PurchaseRefused):  # another try would need another key
        purchases(driver).buy({1: 2}, wait_for_sale=True)
    assert len(driver.requests) == 1


def test_a_token_that_has_expired_is_renewed_once_and_the_key_stays() -> None:
    pair = httpx2.Response(200, json={"access": "second", "refresh": "r-2"})
    driver = ScriptedDriver(problem(401, "token_expired"), pair, purchase())
    mine = {"username": "theo", "password": "p", "token": "first", "refresh": "r-1"}
    assert purchases(driver, **mine).buy({1: 2}).id == "p-1"
    first, refresh, second = driver.requests
    assert loads(refresh.content) == {"refresh": "r-1"}
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert second.headers["Authorization"] == "Bearer second"


def test_where_the_refresh_token_is_refused_it_signs_in_again() -> None:
    refused, pair = problem(401), httpx2.Response(200, json={"access": "3", "refresh": "r-3"})
    driver = ScriptedDriver(refused, refused, pair, purchase())
    mine = {"username": "theo", "password": "p", "token": "first", "refresh": "r-1"}
    purchases(driver, **mine).buy({1: 2})
    assert loads(driver.requests[2].content) == {"username": "theo", "password": "p"}


@pytest.mark.parametrize("from_where", ["fixed", "function"])
def test_a_401_that_stays_is_raised(from_where: str) -> None:
    numbers = itertools.count()
    options: Any = {"fixed": {"token": "t"}, "function": {"token": lambda: f"t-{next(numbers)}"}}
    driver = ScriptedDriver(*[problem(401, "token_not_valid")] * 5, purchase())
    with pytest.raises(errors.TokenNotValid):
        purchases(driver, **options[from_where]).buy({1: 2})
    assert len(driver.requests) == {"fixed": 1, "function": 2}[from_where]


def test_a_queued_purchase_is_polled_after_retry_after() -> None:
    queued = purchase("queued", 202, Retry_After="3")
    driver = ScriptedDriver(queued, queued, purchase(code=200))
    assert purchases(driver).buy({1: 2}).status == "confirmed"
    assert [one.method for one in driver.requests] == ["POST", "GET", "GET"]
    assert driver.sleeps == [3.25]
    assert dict(driver.requests[1].url.params) == {"wait": "20"}


def test_a_rejection_is_the_same_error_wherever_it_is_found() -> None:
    found = problem(400, "not_enough_tickets", id="p-1")
    for script in ([found], [purchase("queued", 202), purchase("rejected", 200)]):
        with pytest.raises(errors.NotEnoughTickets) as raised:
            purchases(ScriptedDriver(*script)).buy({1: 2})
        assert raised.value.purchase_id == "p-1"


def test_the_stream_survives_reconnects_and_reports_positions() -> None:
    queued, done = purchase("queued", 202), purchase(code=200)
    half = f"retry: 2000\nevent: position\nid: 1\ndata: {queued.text}\n\nevent: outc"
    whole = f": alive\nevent: outcome\nid: 2\ndata: {done.text}\n\n"
    driver = ScriptedDriver(queued, stream(half), LOST, stream(whole))
    seen: list[str] = []
    bought = purchases(driver).buy({1: 2}, on_position=lambda one: seen.append(one.status))
    assert (bought.status, seen) == ("confirmed", ["queued"])
    assert driver.requests[-1].headers["Last-Event-ID"] == "1"
    assert driver.sleeps[0] == 2.25


REFUSED = problem(503, "unavailable", {"Retry-After": "1"})


def queued(position: int, seconds: float) -> httpx2.Response:
    waits = {"position": position, "estimated_wait_seconds": seconds}
    return httpx2.Response(200, json=purchase("queued").json() | waits)


class FullGateway(ScriptedDriver):
    """So many clients wait at it that it refuses every stream; it answers all else."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        assert len(self.requests) < 20, "It tries without an end."
        if request.url.path.endswith("/events/"):
            self.responses.insert(0, REFUSED)
        return super().handle_request(request)


@pytest.mark.parametrize("timeout", [60, None])
def test_a_purchase_is_polled_while_its_stream_is_refused(timeout: float | None) -> None:
    driver = FullGateway(queued(9, 9), queued(7, 4.5), queued(2, 0.1), purchase(code=200))
    seen: list[int | None] = []
    bought = purchases(driver).buy(
        {1: 2}, on_position=lambda one: seen.append(one.position), timeout=timeout
    )
    assert (bought.status, seen) == ("confirmed", [7, 2])
    paths = [one.url.path.removeprefix("/api/ticket-purchases/") for one in driver.requests]
    assert paths == ["", *["p-1/events/", "p-1/"] * 3]
    assert driver.sleeps == [4.75, 1.5]  # what is longer: `Retry-After`, or the estimated wait


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_stream_that_was_refused_is_asked_for_again(status: int) -> None:
    outcome = stream(f"event: outcome\ndata: {purchase().text}\n\n")
    driver = ScriptedDriver(problem(status), queued(7, 0), outcome)
    seen: list[int | None] = []
    mine = purchases(driver)
    bought = mine.wait("p-1", on_position=lambda one: seen.append(one.position))
    assert (bought.status, seen) == ("confirmed", [7])
    assert driver.sleeps == [0.25]


def test_a_rejection_is_found_though_the_stream_is_refused() -> None:
    driver = FullGateway(purchase("queued", 202), purchase("rejected", 200))
    with pytest.raises(errors.NotEnoughTickets):
        purchases(driver).buy({1: 2}, on_position=print)


def test_the_deadline_ends_what_is_queued_while_its_stream_is_refused() -> None:
    with pytest.raises(DeadlineExceeded, match="503 unavailable"):
        purchases(FullGateway(queued(7, 5))).wait("p-1", on_position=print, timeout=20)


def test_what_is_stored_but_not_decided_is_asked_for_again() -> None:
    driver = ScriptedDriver(purchase("held", 202), problem(409, "not_decided"), purchase(code=200))
    confirmed = purchases(driver).confirm(
        "p-1", payment_reference="pay-1", amount=Decimal("10.00"), currency="EUR"
    )
    assert (confirmed.status, len(driver.requests), len(driver.keys)) == ("confirmed", 3, 1)
    assert driver.bodies[0]["amount"] == "10.00"


def test_what_is_not_decided_in_time_is_no_conflict_at_which_a_payment_is_voided() -> None:
    driver = ScriptedDriver(problem(409, "not_decided", {"Retry-After": "3600"}))
    with pytest.raises(DeadlineExceeded, match="409 not_decided"):
        purchases(driver).confirm(
            "p-1", payment_reference="pay-1", amount=Decimal("10.00"), currency="EUR"
        )


def test_a_feed_hands_out_each_entry_once_and_resumes(tmp_path: object) -> None:
    def page(after: int, *numbers: int) -> httpx2.Response:
        common = {"kind": "issued", "at": "2026-11-22T14:50:23Z", "command": "c", "batch": 1}
        rows = [{"number": n, "items": [], **common} for n in numbers]
        link = f"https://elsewhere/prefix/api/events/1/ledger/?after={after}&epoch=e1"
        return httpx2.Response(200, json={"entries": rows, "epoch": "e1", "next": link})

    driver = ScriptedDriver(page(3, 1, 2, 3), page(4, 2, 3, 4), page(4))
    entries = list(ScriptedClient(driver, token="secret").events.feed(1, "e1:1", follow=False))
    assert [one.position for one in entries] == ["e1:2", "e1:3", "e1:4"]
    assert dict(driver.requests[0].url.params) == {"after": "1", "epoch": "e1"}
    assert {one.url.host for one in driver.requests} == {"api"}


def test_a_feed_that_follows_waits_for_longer_than_the_server_does() -> None:
    link = "http://api/api/events/1/ledger/?after=0&epoch=e1&wait=20"
    empty = httpx2.Response(200, json={"entries": [], "epoch": "e1", "next": link})
    driver = ScriptedDriver(empty, empty, problem(403), seconds_of_try=0.5)
    with pytest.raises(errors.PermissionDenied):
        list(ScriptedClient(driver).events.feed(1))
    assert driver.reads == [30, 30, 30]
    assert driver.sleeps == [1, 1]  # too many clients wait, so responses come at once


def test_a_202_that_is_the_whole_answer_is_returned() -> None:
    driver = ScriptedDriver(httpx2.Response(202, json={"status": "queued"}))
    assert ScriptedClient(driver).raw.request("POST", "/api/events/1/audits/") == {
        "status": "queued"
    }


class Store:
    """A function that stores a key."""

    record: str | None = None

    def __call__(self, record: str) -> str:
        self.record = self.record or record
        return self.record


def test_a_stored_key_is_of_one_cart() -> None:
    store = Store()
    driver = ScriptedDriver(purchase())
    purchases(driver).buy({1: 2, 3: 1}, key=store)
    purchases(driver).buy({3: 1, 1: 2}, key=store)  # the order in a dict is none
    assert len(driver.keys) == 1
    with pytest.raises(KeyMismatch, match="done"):
        purchases(driver).buy({1: 3}, key=store)
    assert len(driver.requests) == 2


@pytest.mark.parametrize("body", [{"scopes": ("read", "purchase")}, {"names": {10: "a", 9: "b"}}])
def test_a_stored_key_is_of_the_json_that_is_sent(body: dict[str, Any]) -> None:
    driver = ScriptedDriver(httpx2.Response(201, json={}))
    for key in (store := Store(), store):
        ScriptedClient(driver).raw.request("POST", "/api/api-keys/", json=body, key=key)
    assert (len(driver.requests), len(driver.keys)) == (2, 1)


def test_a_key_is_stored_before_the_first_request() -> None:
    class NoRequest(ScriptedDriver):
        def handle_request(self, request: object) -> httpx2.Response:
            assert store.record is not None
            raise SystemExit  # killed

    store = Store()
    with pytest.raises(SystemExit):
        purchases(NoRequest()).buy({1: 2}, key=store)
    driver = ScriptedDriver(purchase())
    purchases(driver).buy({1: 2}, key=store)
    (key,) = driver.keys
    assert key.strip('"') in str(store.record)


def test_a_key_file_is_forgotten_only_after_the_outcome_was_handed_over(tmp_path: object) -> None:
    path = f"{tmp_path}/key"
    rejected, confirmed = problem(400, "not_enough_tickets", id="p-1"), purchase()

    def block(response: Scripted, then: type[BaseException] | None = None) -> None:
        with KeyFile(path) as key:
            purchases(ScriptedDriver(response)).buy({1: 2}, key=key, timeout=1)
            if then is not None:
                raise then

    for response, then, kept in (
        (LOST, None, True),
        (problem(400, "sale_closed"), None, True),
        (confirmed, KeyboardInterrupt, True),
        (confirmed, None, False),
        (rejected, None, False),
    ):
        with suppress(errors.EventifyError, KeyboardInterrupt):
            block(response, then)
        assert KeyFile(path).path.exists() is kept, (response, then)


def test_a_rejection_of_another_purchase_does_not_forget_a_key(tmp_path: object) -> None:
    other = purchases(ScriptedDriver(problem(400, "not_enough_tickets", id="p-2")))
    with suppress(errors.NotEnoughTickets), KeyFile(f"{tmp_path}/key") as key:
        purchases(ScriptedDriver(purchase())).buy({1: 2}, key=key)
        other.buy({1: 1})
    assert KeyFile(f"{tmp_path}/key").path.exists()


def test_a_rejection_that_a_function_of_the_caller_raises_is_not_of_this_purchase(
    tmp_path: object,
) -> None:
    rejected = ScriptedDriver(problem(400, "not_enough_tickets", id="p-2"))
    text = f"event: position\ndata: {purchase('queued').text}\n\n"
    driver = ScriptedDriver(purchase("queued", 202), stream(text))
    with suppress(errors.NotEnoughTickets), KeyFile(f"{tmp_path}/key") as key:
        purchases(driver).buy(
            {1: 2}, key=key, on_position=lambda _: purchases(rejected).buy({2: 1})
        )
    assert KeyFile(f"{tmp_path}/key").path.exists()


def test_a_block_does_not_forget_the_key_for_what_an_earlier_one_knew(tmp_path: object) -> None:
    key = KeyFile(f"{tmp_path}/key")
    with suppress(KeyboardInterrupt), key:
        purchases(ScriptedDriver(purchase())).buy({1: 2}, key=key)
        raise KeyboardInterrupt
    with key, suppress(DeadlineExceeded):
        purchases(ScriptedDriver(LOST)).buy({1: 2}, key=key, timeout=1)
    assert key.path.exists()


def test_a_key_file_of_another_program_is_on_the_disk_before_it_is_used(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    KeyFile(f"{tmp_path}/key")("first")
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    assert KeyFile(f"{tmp_path}/key")("second") == "first"
    assert len(synced) == 1


@pytest.mark.parametrize("method", ["post", "Post", "POST"])
def test_each_post_has_a_key_however_it_is_written(method: str) -> None:
    driver = ScriptedDriver(LOST, purchase())
    ScriptedClient(driver).raw.request(method, "/api/ticket-purchases/", json={}, key="mine")
    assert driver.keys == {'"mine"'}


def test_two_programs_that_begin_at_once_have_one_key(tmp_path: object) -> None:
    first, second = KeyFile(f"{tmp_path}/key"), KeyFile(f"{tmp_path}/key")
    assert first("first") == second("second") == "first"


def test_lists_are_read_by_cursor_to_their_end() -> None:
    def page(*ids: str, link: str | None) -> httpx2.Response:
        rows = [purchase().json() | {"id": id_} for id_ in ids]
        return httpx2.Response(200, json={"results": rows, "next": link})

    driver = ScriptedDriver(page("a", "b", link="http://api/p/?cursor=x"), page("c", link=None))
    assert [one.id for one in purchases(driver).list(event=7)] == ["a", "b", "c"]
    assert dict(driver.requests[0].url.params) == {"cursor": "", "event": "7"}
    assert str(driver.requests[1].url) == "http://api/p/?cursor=x"


@pytest.mark.parametrize(
    ("used", "link", "followed"),
    [
        ("http://api", "https://evil.example/api/events/?page=2", "http://api/api/events/?page=2"),
        # The public URL has a path, under which a proxy has mounted the API; the other has none.
        ("http://api", "https://shop.example/tickets/api/events/", "http://api/api/events/"),
        (
            "https://shop/tickets/",
            "https://shop/tickets/api/events/",
            "https://shop/tickets/api/events/",
        ),
        ("https://shop/api/v", "https://shop/api/v/api/events/", "https://shop/api/v/api/events/"),
        (
            "http://api",
            "https://shop/api/events/?title=/api/",
            "http://api/api/events/?title=/api/",
        ),
        ("http://api", "https://evil.example/other/", "http://api/other/"),
    ],
)
def test_links_are_followed_at_the_address_that_is_used(
    used: str, link: str, followed: str
) -> None:
    with Client(used) as client:
        assert client._url(link) == followed


def test_any_post_waits_for_what_is_decided() -> None:
    """An extension of holds is 202 until then, and a 409 may come of it."""
    driver = ScriptedDriver(purchase())
    ScriptedClient(driver).raw.request("post", "/api/events/1/extend-holds/", json={"seconds": 60})
    assert driver.requests[0].headers["Prefer"] == "wait=20"
