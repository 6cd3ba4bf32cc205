"""What comes back for what is sent, over each of the ways to a gateway."""

import json
from collections.abc import Callable

import httpx
import pytest

from tests.support.wire import Answer
from tests.system.conftest import Shop
from tests.system.selling import PURCHASES, WAIT, buy, put_on_sale
from tests.system.wire.table import CASES, Case, Statuses
from tests.system.wire.talk import replies, talk

EVERY_CASE = [
    pytest.param(case, id=f"{group}: {case.name}")
    for group, cases in CASES.items()
    for case in cases
]
LAST = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
Fill = Callable[[str], bytes]


@pytest.fixture(scope="module")
def ticket_type(organiser: httpx.Client) -> int:
    return put_on_sale(organiser, 10_000)


@pytest.fixture
def fill(organiser: httpx.Client, buyer: httpx.Client, ticket_type: int) -> Fill:
    """Puts values into what a case sends."""
    body = json.dumps({"ticket_type": ticket_type, "quantity": 1})
    path = f"/api/ticket-types/{ticket_type}/"
    token = buyer.headers["Authorization"]
    head = f"POST {PURCHASES} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
    values = {
        "buy": f"{head}Content-Length: {len(body)}\r\n\r\n{body}",
        "body": body,
        "length": str(len(body)),
        "chunks": f"{len(body):x}\r\n{body}\r\n0\r\n\r\n",
        "odd_chunks": f'1;a=b;c="d"\r\n{body[0]}\r\n{len(body) - 1:X};e\r\n{body[1:]}\r\n'
        "000;f=g\r\nIdempotency-Key: other\r\nHost: y\r\n\r\n",
        "buyer": token,
        "two_spaces": token.replace(" ", "  "),
        "organiser": organiser.headers["Authorization"],
        "ticket_type_path": path,
        "etag": organiser.get(path).headers["ETag"],
    }

    def filled(text: str) -> bytes:
        for name, value in values.items():
            text = text.replace(f"<{name}>", value)
        return text.encode("latin-1")

    return filled


def converse(url: str, case: Case, fill: Fill) -> list[Answer]:
    """The answers to a case, after which the connection has closed as it should."""
    packets = [fill(packet) for packet in case.sent]
    methods = [*case.methods] or ["GET"] * 10
    if case.closes:
        return replies(talk(url, packets, half_closes=case.half_closes), methods)
    *answers, last = replies(talk(url, [*packets, LAST]), methods)
    assert b'"keys"' in last.body, (answers, last)
    return answers


def check(answers: list[Answer], expected: Statuses) -> None:
    statuses = [answer.status for answer in answers]
    assert len(statuses) == len(expected), answers
    for status, right in zip(statuses, expected, strict=True):
        assert status in (right if isinstance(right, set) else {right}), answers


@pytest.mark.parametrize("case", EVERY_CASE)
def test_the_gateway_answers_by_the_rfcs(
    shop: Shop, buyer: httpx.Client, fill: Fill, case: Case
) -> None:
    answers = converse(shop.url, case, fill)
    check(answers, case.answers)
    for answer in answers:
        assert answer.headers["x-request-id"]
        assert answer.status < 400 or answer.is_problem
    assert buyer.get(PURCHASES).json()["count"] == case.bought


@pytest.mark.parametrize("case", [param for param in EVERY_CASE if param.values[0].by_nginx != ()])
def test_a_client_behind_nginx_is_answered_by_the_rfcs(
    proxy: str, buyer: httpx.Client, fill: Fill, case: Case
) -> None:
    expected = case.answers if case.by_nginx is None else case.by_nginx
    packets = [fill(packet) for packet in case.sent]
    methods = [*case.methods] or ["GET"] * 10
    # nginx keeps its client's connection whatever the gateway does with its own.
    try:
        received = talk(proxy, [*packets, LAST])
    except ConnectionResetError:
        # nginx closed before it had read LAST, and the reset discarded its answer (RFC 9112, 9.6).
        received = talk(proxy, packets)
    answers = replies(received, methods)
    if answers and b'"keys"' in answers[-1].body:
        answers.pop()
    check(answers, expected)
    assert buyer.get(PURCHASES).json()["count"] == case.bought


def test_a_stream_ends_with_the_connection_where_the_client_knows_no_chunks(
    shop: Shop, buyer: httpx.Client, ticket_type: int
) -> None:
    bought = buy(buyer, ticket_type, **WAIT).json()
    head = (
        f"GET {PURCHASES}{bought['id']}/ HTTP/1.0\r\nAccept: text/event-stream\r\n"
        f"Authorization: {buyer.headers['Authorization']}\r\n\r\n"
    )
    (answer,) = replies(talk(shop.url, [head.encode()]))
    assert "transfer-encoding" not in answer.headers
    assert answer.headers["connection"] == "close"
    assert b"event: outcome\n" in answer.body
    assert b"\r\n" not in answer.body


def test_accept_in_several_lines_is_one_list(
    shop: Shop, buyer: httpx.Client, ticket_type: int
) -> None:
    bought = buy(buyer, ticket_type, **WAIT).json()
    head = (
        f"GET {PURCHASES}{bought['id']}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Accept: application/json;q=0.1\r\nAccept: text/event-stream\r\n"
        f"Authorization: {buyer.headers['Authorization']}\r\n\r\n"
    )
    (answer,) = replies(talk(shop.url, [head.encode()]))
    assert answer.headers["content-type"].startswith("text/event-stream")
