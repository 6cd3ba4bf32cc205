"""What proxies, wrong tokens and files by other hands do to the client, and what it never shows."""

import copy
import pickle
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest
from eventify_client import DeadlineExceeded, KeyFile, KeyMismatch, errors

from tests.sdk.scripted_driver import (
    LOST,
    ScriptedClient,
    ScriptedDriver,
    problem,
    purchase,
    purchases,
    stream,
)

SECRET = "evk_secret"


@pytest.mark.parametrize(
    "body",
    [
        {"success": False, "errors": [{"code": 1033, "message": "Tunnel error"}]},
        {"errors": ["down"]},
        {"errors": {"field": 5}},
        {"short": 1},
        {"short": [{}]},
        {"code": 1033, "detail": None},
        ["down"],
        None,
    ],
)
def test_json_of_a_proxy_is_an_error_by_its_status(body: object) -> None:
    driver = ScriptedDriver(httpx2.Response(503, json=body), purchase())
    assert purchases(driver).buy({1: 2}).status == "confirmed"
    with pytest.raises(errors.PermissionDenied):
        purchases(ScriptedDriver(httpx2.Response(403, json=body))).buy({1: 2})


@pytest.mark.parametrize("body", ["", "[]", "null", "[" * 100_000])
def test_a_success_that_is_no_answer_of_ours_is_tried_again(body: str) -> None:
    driver = ScriptedDriver(httpx2.Response(200, text=body), purchase())
    assert purchases(driver).buy({1: 2}).status == "confirmed"


def test_a_204_is_no_purchase() -> None:
    driver = ScriptedDriver(httpx2.Response(204), purchase())
    assert purchases(driver).buy({1: 2}).status == "confirmed"
    driver = ScriptedDriver(httpx2.Response(204))
    assert ScriptedClient(driver).raw.request("DELETE", "/api/keys/1/") is None
    assert ScriptedClient(driver).raw.request("HEAD", "/api/events/") is None


def test_json_of_another_shape_is_named_and_its_outcome_unknown() -> None:
    driver = ScriptedDriver(httpx2.Response(200, json={"hello": "world"}))
    with pytest.raises(DeadlineExceeded, match="is not Eventify's: Object missing required field"):
        purchases(driver).buy({1: 2})


def test_a_status_of_a_later_server_is_passed_on() -> None:
    assert purchases(ScriptedDriver(purchase("refunded"))).buy({1: 2}).status == "refunded"


@pytest.mark.parametrize("position", ["17", "e:abc", "e:", "e:-1"])
def test_what_is_no_position_of_an_entry_is_named(position: str) -> None:
    driver = ScriptedDriver(purchase())
    with pytest.raises(ValueError, match=f"'{position}' is not the `position` of an entry"):
        next(ScriptedClient(driver).events.feed(1, position))
    assert driver.requests == []


def test_a_stream_of_comments_alone_ends_at_the_deadline() -> None:
    driver = ScriptedDriver(stream(":\n" * 100), seconds_of_line=10)
    with pytest.raises(DeadlineExceeded):
        purchases(driver).wait("p-1", on_position=print, timeout=25)
    assert driver.now == 30


@pytest.mark.parametrize("status", [400, 403])
def test_the_id_of_a_page_that_blocks_is_no_rejection(tmp_path: Path, status: int) -> None:
    key = KeyFile(tmp_path / "key")
    blocked = httpx2.Response(status, json={"id": "ray-17", "code": "blocked"})
    with pytest.raises(errors.APIError) as raised, key:
        purchases(ScriptedDriver(LOST, blocked)).buy({1: 2}, key=key)
    assert raised.value.purchase_id is None
    assert key.path.exists()


@pytest.mark.parametrize("damaged", [b"", b'{"key": "a', b"\xff\xfe", b"{}", b"[]", b"5"])
def test_a_damaged_key_file_is_named_and_kept(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "order.key"
    path.write_bytes(damaged)
    driver = ScriptedDriver(purchase())
    with pytest.raises(KeyMismatch, match=r"order\.key"):
        purchases(driver).buy({1: 2}, key=KeyFile(path))
    assert (driver.requests, path.read_bytes()) == ([], damaged)


@pytest.mark.parametrize(
    "value", ["9" * 400, "Sat, 01 Jan 99999999999999999999 00:00:00 GMT", "-1", "x, y", "1.5"]
)
def test_any_retry_after_can_be_slept_or_is_none(value: str) -> None:
    seconds = errors.api_error(503, {}, {"Retry-After": value}).retry_after
    assert seconds is None or seconds <= errors.LONGEST_SECONDS
    driver = ScriptedDriver(purchase("queued", 202, **{"Retry-After": value}), purchase(code=200))
    if seconds is None:
        assert purchases(driver).wait("p-1").status == "confirmed"


def test_errors_can_be_sent_to_another_process() -> None:
    error = errors.api_error(400, {"code": "invalid", "errors": {"a": ["b"]}}, {"Retry-After": "3"})
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(again), str(again)) == (errors.Invalid, str(error))
        assert (again.errors, again.retry_after) == ({"a": ["b"]}, 3)


def test_secrets_are_in_no_repr() -> None:
    mine = ScriptedClient(ScriptedDriver(), token=SECRET, password=SECRET, refresh=SECRET)
    assert SECRET not in repr(mine) + repr(mine.purchases)


def test_the_end_of_the_line_is_no_part_of_a_token() -> None:
    driver = ScriptedDriver(purchase())
    purchases(driver, token=f"{SECRET}\n").buy({1: 2})
    assert driver.requests[0].headers["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("token", [f"{SECRET}\n{SECRET}", f"{SECRET}\N{BULLET}"])
def test_a_token_that_no_header_may_have_is_not_shown(token: str) -> None:
    driver = ScriptedDriver(purchase())
    with pytest.raises(ValueError, match="printable") as raised:
        purchases(driver, token=token).buy({1: 2})
    assert SECRET not in str(raised.value)
    assert driver.requests == []


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://evil.example/api/keys/?a=1", "http://api/api/keys/?a=1"),
        ("HTTPS://evil.example/api/keys/", "http://api/api/keys/"),
        (
            "/api/keys/?next=https://evil.example/",
            "http://api/api/keys/?next=https://evil.example/",
        ),
        ("@evil.example/", "http://api/@evil.example/"),
        (".evil.example/", "http://api/.evil.example/"),
    ],
)
def test_a_token_goes_to_the_address_of_the_client_alone(url: str, sent: str) -> None:
    driver = ScriptedDriver(httpx2.Response(200, json={}))
    ScriptedClient(driver, token=SECRET).raw.request("GET", url)
    assert str(driver.requests[0].url) == sent


def test_what_can_never_be_sent_is_not_tried_again() -> None:
    driver = ScriptedDriver(httpx2.UnsupportedProtocol("ftp"))
    with pytest.raises(httpx2.UnsupportedProtocol):
        purchases(driver).buy({1: 2})
    assert len(driver.requests) == 1


class InPieces(ScriptedDriver):
    """A stream comes in pieces of `size` bytes, wherever they end."""

    size = 1

    def lines(self, text: str) -> Iterator[bytes]:
        whole = text.encode()
        return (whole[at : at + self.size] for at in range(0, len(whole), self.size))


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_stream_is_read_by_the_standard(end: str, size: int) -> None:
    queued = purchase("queued").text.replace("EUR", "€")
    first, second = queued.split(", ", 1) if ", " in queued else queued.split(",", 1)
    lines = [
        *("\ufeffevent:position", "retry: 5000", "id: 7", f"data:{first},", f"data: {second}", ""),
        *(": a comment", ""),
        *("retry: soon", "event: two", "data: x: y", "unknown", ""),
        *("event: outcome", "data: cut off"),
    ]
    text = "".join(line + end for line in lines)
    driver = InPieces(stream(text), stream(f"event: outcome\ndata: {purchase().text}\n\n"))
    driver.size = size
    seen: list[str] = []
    mine = purchases(driver)
    assert mine.wait("p-1", on_position=lambda one: seen.append(one.currency)).status == "confirmed"
    assert seen == ["€"]
    assert driver.requests[1].headers["Last-Event-ID"] == "7"
    assert driver.sleeps == [5.25]


@pytest.mark.parametrize(
    "damaged",
    ["event: outcome\ndata: {broken\n\n", f"data: {'x' * 2_000_000}\n\n", "x" * 2_000_000],
    ids=["json", "event", "line"],
)
def test_a_damaged_stream_is_read_again(damaged: str) -> None:
    outcome = stream(f"event: outcome\ndata: {purchase().text}\n\n")
    driver = ScriptedDriver(stream(damaged), outcome)
    assert purchases(driver).wait("p-1", on_position=print).status == "confirmed"
    assert len(driver.requests) == 2


def test_a_stream_that_is_none_is_followed_by_a_poll() -> None:
    driver = ScriptedDriver(httpx2.Response(206, text="x"), purchase(code=200))
    assert purchases(driver).wait("p-1", on_position=print).status == "confirmed"


@pytest.mark.parametrize("retry", ["-9000", "9" * 30])
def test_any_time_of_a_stream_can_be_slept(retry: str) -> None:
    outcome = stream(f"event: outcome\ndata: {purchase().text}\n\n")
    driver = ScriptedDriver(stream(f"retry: {retry}\n\n"), outcome)
    assert purchases(driver).wait("p-1", on_position=print, timeout=None).status == "confirmed"
    assert 0 <= driver.sleeps[0] <= errors.LONGEST_SECONDS + 1


@pytest.mark.parametrize("status", [200, 400])
def test_a_body_that_comes_too_slowly_ends_at_the_deadline(status: int) -> None:
    class Slow(ScriptedDriver):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            super().handle_request(request)
            return httpx2.Response(status, content=self.lines("{\n" * 1000))

    driver = Slow(purchase(), seconds_of_line=9)
    with pytest.raises(DeadlineExceeded, match="too slowly"):
        purchases(driver).buy({1: 2}, timeout=20)
    assert driver.now <= 30


def test_an_event_of_a_later_server_is_passed_over() -> None:
    outcome = purchase().text
    text = f"event: notice\ndata: later\n\nevent: outcome\ndata: {outcome}\n\n"
    driver = ScriptedDriver(stream(text))
    assert purchases(driver).wait("p-1", on_position=print).status == "confirmed"


@pytest.mark.parametrize("status", [404, 409])
@pytest.mark.parametrize("page", ["404 page not found", '{"code": null}', "{}"])
def test_nobody_voids_a_payment_for_the_page_of_a_proxy(status: int, page: str) -> None:
    mine = purchases(ScriptedDriver(LOST, httpx2.Response(status, text=page)))
    with pytest.raises(errors.APIError) as raised:
        mine.confirm("p-1", payment_reference="r", amount=Decimal("1.00"), currency="EUR")
    assert not isinstance(raised.value, (errors.Conflict, errors.NotFound))
    assert raised.value.status == status


def test_other_problems_have_no_purchase() -> None:
    error = errors.error_of(answer := problem(400, "not_enough_tickets", id="p-1"), answer.content)
    assert error.purchase_id == "p-1"


def test_a_slow_program_does_not_forget_the_key_of_the_next_purchase(tmp_path: Path) -> None:
    slow, quick, later = (KeyFile(tmp_path / "key") for _ in range(3))
    assert slow("first") == quick("other") == "first"
    quick.done()
    later("second")
    slow.done()
    assert later.path.read_text() == "second"
    later.done()
    assert not later.path.exists()
