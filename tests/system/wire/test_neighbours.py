"""Clients of a proxy share its connections to the gateway: none gets another's answer."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.wire import TIMEOUT_SECONDS
from tests.system.conftest import Shop
from tests.system.wire.talk import replies

SMUGGLED = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n"
# The body comes behind its head, once nothing was answered to the head alone for so long.
BEHIND_SECONDS = 0.05
ATTACKS = 25
HEADS = {
    "Upgrade": b"Connection: Upgrade\r\nUpgrade: foo\r\n",
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
}


@contextmanager
def asking(client: httpx.Client, url: str, name: str) -> Iterator[list[str]]:
    """A client that asks who it is, over and over, until the block ends; gives wrong answers."""
    wrong: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answer = client.get(f"{url}/api/users/me/")
            if f'"username":"{name}"' not in answer.text:
                wrong.append(answer.text)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield wrong
    finally:
        over.set()
        thread.join()


def attack(url: str, token: str, lines: bytes) -> bytes:
    """Send what is a request in the body of another; gives all that came back."""
    address = urlsplit(url)
    head = b"POST /api/ticket-purchases/ HTTP/1.1\r\nHost: x\r\nAuthorization: %b\r\n%b"
    head = head % (token.encode(), lines) + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED)
    with socket.create_connection((address.hostname, address.port), TIMEOUT_SECONDS) as line:
        line.sendall(head)
        came, _, _ = select.select([line], [], [], BEHIND_SECONDS)
        assert not came
        line.sendall(SMUGGLED)
        answer = line.recv(65_536)
        # There is no second one.
        came, _, _ = select.select([line], [], [], BEHIND_SECONDS)
        return answer + (line.recv(65_536) if came else b"")


@pytest.mark.parametrize("lines", HEADS.values(), ids=HEADS)
def test_nobody_gets_the_answer_to_a_request_in_anothers_body(
    proxy: str, shop: Shop, lines: bytes
) -> None:
    attacker, *neighbours = shop.users(3)
    names = [client.get("/api/users/me/").json()["username"] for client in neighbours]
    with ExitStack() as stack:
        wrong = [
            stack.enter_context(asking(client, proxy, name))
            for client, name in zip(neighbours, names, strict=True)
        ]
        for _ in range(ATTACKS):
            answers = replies(attack(proxy, attacker.headers["Authorization"], lines))
            assert [answer.status for answer in answers] == [400], answers
            assert answers[0].is_problem
    assert wrong == [[], []]
