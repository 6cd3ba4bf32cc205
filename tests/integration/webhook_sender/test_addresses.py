"""Whatever a URL says and a name stands for: nothing is sent into our own network."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import aclosing
from itertools import chain, repeat

import pytest

from shared.config.settings import Settings
from tests.support.receivers import Receiver
from webhook_sender.request import Message, Requests
from webhook_sender.schedule import Outcome

# Where the tests' receivers are; another address of the same machine is not allowed.
ALLOWED, NOT_ALLOWED = "127.0.0.1", "127.0.0.2"
PUBLIC = "192.88.98.1"


def send(settings: Settings, url: str, times: int = 1) -> list[Outcome]:
    """As a sender that has just started does, each time."""

    async def attempt() -> Outcome:
        async with aclosing(Requests(settings)) as requests:
            return await requests.send(Message(url, "msg_1", "{}", [b"s" * 32]))

    return [asyncio.run(attempt()) for _ in range(times)]


@pytest.fixture
def settings() -> Settings:
    return Settings(
        database_url="postgresql://none.invalid/none",
        webhook_allow_http=True,
        webhook_allowed_networks="127.0.0.0/8",
        webhook_timeout_seconds=5,
    )


@pytest.fixture
def strict(settings: Settings) -> Settings:
    """No network is allowed but the public one."""
    return settings.model_copy(update={"webhook_allowed_networks": ""})


def resolve_to(monkeypatch: pytest.MonkeyPatch, answers: Iterator[list[str]]) -> None:
    """What DNS answers, one time after the other."""

    def resolved(_host: object, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in next(answers)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "127.0.0.1.", "0.0.0.0", "0", "2130706433"),
        *("0177.0.0.1", "017700000001", "0x7f.0.0.1", "0x7f000001", "%31%32%37.0.0.1"),
        *("localhost", "localhost.", "LOCALHOST", "shop.localhost", "\u2460.localhost"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[::127.0.0.1]"),
        socket.gethostname(),
    ],
)
def test_no_form_of_an_inner_address_is_connected_to(
    receiver: Receiver, strict: Settings, host: str
) -> None:
    (outcome,) = send(strict, f"http://{host}:{receiver.port}/")
    assert (outcome.status, outcome.failure) == (None, "address")
    assert receiver.requests == []


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1"],
)
def test_a_name_for_an_inner_address_is_not_connected_to(
    strict: Settings, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    resolve_to(monkeypatch, repeat([address]))
    (outcome,) = send(strict, "http://shop.example/")
    assert outcome.failure == "address"


def test_a_name_that_stands_for_another_address_by_now_is_judged_anew(
    receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings.model_copy(update={"webhook_allowed_networks": ALLOWED})
    resolve_to(monkeypatch, chain([[ALLOWED]], repeat([NOT_ALLOWED])))
    first, then = send(settings, f"http://shop.example:{receiver.port}/", times=2)
    assert (first.status, first.failure) == (200, None)
    assert (then.status, then.failure) == (None, "address")


def test_of_several_addresses_an_inner_one_is_passed_over(
    receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://shop.example:{receiver.port}/"
    strict = settings.model_copy(update={"webhook_allowed_networks": f"{PUBLIC}/32"})
    resolve_to(monkeypatch, repeat([PUBLIC, ALLOWED]))
    (outcome,) = send(strict, url)
    assert outcome.status is None
    assert receiver.requests == []
    settings = settings.model_copy(update={"webhook_allowed_networks": ALLOWED})
    resolve_to(monkeypatch, repeat([NOT_ALLOWED, ALLOWED]))
    (outcome,) = send(settings, url)
    assert outcome.status == 200


def test_no_proxy_of_the_environment_is_used(
    receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver().running() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        (outcome,) = send(settings, f"{receiver.url}/hooks")
        assert outcome.status == 200
        assert proxy.requests == []
