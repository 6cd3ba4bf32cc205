"""What is read of a response, and how failures are named."""

import asyncio
from datetime import UTC, datetime
from typing import cast

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from standardwebhooks import Webhook

from shared.config.settings import Settings
from webhook_sender.request import (
    AddressNotAllowed,
    Message,
    Requests,
    failure_of,
    seconds_of,
    signed_headers,
)

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
KEY = cast("ConnectionKey", None)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("Sun, 29 Nov 2026 12:01:00 GMT", 60),
        ("Sun, 29 Nov 2026 11:59:00 GMT", -60),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 51, None),
        ("Mon, 99 Nov 2026 12:01:00 GMT", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert seconds_of(header, NOW) == seconds


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (aiohttp.ClientConnectorError(KEY, AddressNotAllowed()), "address"),
        (aiohttp.InvalidURL("https://2130706433/"), "address"),
        (aiohttp.ClientConnectorDNSError(KEY, OSError()), "dns"),
        (aiohttp.ClientConnectorError(KEY, ConnectionRefusedError()), "connection"),
        (aiohttp.ServerTimeoutError(), "timeout"),
        (TimeoutError(), "timeout"),
        (aiohttp.ClientConnectorSSLError(KEY, OSError()), "tls"),
        (aiohttp.ServerDisconnectedError(), "connection"),
    ],
)
def test_failures_have_classes(error: Exception, failure: str) -> None:
    assert failure_of(error) == failure


def test_the_time_is_signed() -> None:
    """The library shifts times that are not UTC: ours are."""
    secret = b"s" * 32
    now = datetime.now(UTC)
    message = Message("https://shop.example/", "msg_1", '{"a":1}', [secret])
    headers = dict(signed_headers(message, now))
    assert headers["webhook-timestamp"] == str(int(now.timestamp()))
    assert Webhook(secret).verify(message.body, headers) == {"a": 1}


@pytest.mark.anyio
async def test_a_thread_that_cannot_start_is_a_failure_of_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_thread(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", no_thread)
    requests = Requests(Settings(database_url="postgresql:///x"))
    outcome = await requests.send(Message("https://receiver.example/", "1", "{}", [b"secret"]))
    await requests.aclose()
    assert outcome.failure == "dns"
