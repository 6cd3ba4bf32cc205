"""Sends one signed request to wherever a stranger wants it, and takes nothing from there but a
status."""

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from aiohttp.connector import Connection
from aiohttp.typedefs import LooseHeaders
from standardwebhooks import Webhook

from shared.config.public_url import parse_networks
from shared.config.settings import Settings
from shared.webhooks import is_allowed_address, url_problem
from webhook_sender.schedule import Failure, Outcome, outcome_of

# So much of a body is read, and for so long, to use the connection again; of a larger or slower one
# nothing but its status was wanted.
BODY_MAX_BYTES = 16_384
BODY_SECONDS = 1.0
# Below that of receivers: Node.js closes after 5 s.
KEEP_ALIVE_SECONDS = 4.0
# Informational responses (1xx) before the one that counts; aiohttp would read any number of them.
INFORMATIONAL_MAX = 10
# So little is read at a time: its heads are parsed before anything else of this process runs.
RECEIVE_BUFFER_BYTES = 16_384
# Of `threading`, which has no class for it.
NO_THREAD = "can't start new thread"
USER_AGENT = "Eventify-Webhooks/1"


@dataclass(frozen=True, slots=True)
class Message:
    """`id`: the same at each attempt. `secrets`: each signs."""

    url: str
    id: str
    body: str
    secrets: Sequence[bytes]


class AddressNotAllowed(OSError):
    pass


class _Response(aiohttp.ClientResponse):
    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Raises aiohttp.ClientConnectionError: too many responses, or none of HTTP."""
        protocol = connection.protocol
        assert protocol is not None
        read, left = protocol.read, INFORMATIONAL_MAX

        async def read_one() -> Any:
            nonlocal left
            if left < 0:
                raise aiohttp.ClientConnectionError("too many informational responses")
            left -= 1
            return await read()

        protocol.read = read_one  # type: ignore[method-assign]
        try:
            await super().start(connection)
        finally:
            del protocol.read
        if self.status < 100:
            raise aiohttp.ClientConnectionError("no status of HTTP")
        return self


class Requests:
    """Open it in a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._allow_http = settings.webhook_allow_http
        self._allowed = parse_networks(settings.webhook_allowed_networks)
        # Its time is limited as a whole; its own parts need no limits.
        timeout = aiohttp.ClientTimeout(total=settings.webhook_timeout_seconds, ceil_threshold=1e9)
        self._session = aiohttp.ClientSession(
            timeout=timeout,
            connector=aiohttp.TCPConnector(
                socket_factory=self._socket, limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS
            ),
            response_class=_Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            # An answer to a receiver's 401 with credentials of a .netrc, or a proxy: never.
            trust_env=False,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        )

    async def aclose(self) -> None:
        await self._session.close()

    async def send(self, message: Message) -> Outcome:
        """One attempt, which takes no longer than the setting. It raises nothing."""
        began = time.monotonic()
        status = retry_after = None
        failure: Failure | None = None
        # A setting may have changed since the URL was accepted.
        if url_problem(message.url, allow_http=self._allow_http, allowed=self._allowed):
            return Outcome(0, failure="address")
        try:
            async with self._session.post(
                message.url,
                data=message.body.encode(),
                headers=signed_headers(message, datetime.now(UTC)),
                allow_redirects=False,
            ) as response:
                status = response.status
                retry_after = seconds_of(response.headers.get("Retry-After"), datetime.now(UTC))
                await _read_a_little(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            # What comes after the status changes nothing.
            failure = failure_of(error) if status is None else None
        except RuntimeError as error:
            # The thread that looks up the name: there are as many as the system allows.
            if status is not None or NO_THREAD not in str(error):
                raise
            failure = "dns"
        milliseconds = round(1e3 * (time.monotonic() - began))
        if status is None:
            return Outcome(milliseconds, failure=failure)
        return outcome_of(status, milliseconds, retry_after)

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """For the very address that is connected to next, whatever was resolved before.

        Raises:
            AddressNotAllowed
        """
        family, kind, protocol, _, address = info
        if not is_allowed_address(str(address[0]), self._allowed):
            raise AddressNotAllowed("The address is not public.")
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        return opened


def signed_headers(message: Message, at: datetime) -> LooseHeaders:
    """Those of Standard Webhooks. `at`: in UTC."""
    signatures = [Webhook(secret).sign(message.id, at, message.body) for secret in message.secrets]
    return {
        "Content-Type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def seconds_of(retry_after: str | None, now: datetime) -> float | None:
    """`Retry-After` as seconds from now; None where it is neither a number nor a date."""
    if retry_after is None or len(retry_after) > 50:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return (parsedate_to_datetime(retry_after).astimezone(UTC) - now).total_seconds()
    except (ValueError, OverflowError):
        return None


def failure_of(error: Exception) -> Failure:
    causes = [error, getattr(error, "os_error", None)]
    if any(isinstance(each, AddressNotAllowed | aiohttp.InvalidURL) for each in causes):
        return "address"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "tls"
    return "connection"


async def _read_a_little(response: aiohttp.ClientResponse) -> None:
    """Close the connection unless the body ends soon."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            await response.content.readexactly(BODY_MAX_BYTES)
    except asyncio.IncompleteReadError:
        return  # it has ended
    except TimeoutError:
        pass
    response.close()
