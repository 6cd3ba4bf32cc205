"""Requests with retries, as coroutines that leave all I/O to a driver."""

import itertools
import math
import random
import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2

from eventify_client import errors
from eventify_client.drivers import Driver, Request

BACKOFF_SECONDS, BACKOFF_MAX_SECONDS = 0.25, 20.0
# Added to `Retry-After`, so that not all come back at the same moment.
JITTER_MAX_SECONDS = 1.0
SERVER_ERRORS_MAX = 3
RETRIED = (408, 429, 502, 503, 504)
UNKNOWN = (500, 502, 503, 504)


class Deadline:
    """Of a whole call; None: as long as it takes."""

    def __init__(self, seconds: float | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at = math.inf if seconds is None else clock() + seconds

    def left(self) -> float:
        return max(0.0, self._at - self._clock())

    def check(self, seconds: float = 0.0, last: Exception | None = None) -> None:
        if seconds >= self.left():
            text = "The outcome is not known in time; call again, with the same key."
            raise errors.DeadlineExceeded(f"{text} Last: {last}") from last


@dataclass(kw_only=True)
class Session:
    """What all requests of a client share. `try_timeout` is for each try, without its wait."""

    base_url: str
    driver: Driver
    lock: Any
    token: str | None = field(default=None, repr=False)
    source: Callable[[], Any] | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    refresh: str | None = field(default=None, repr=False)
    timeout: float | None = 120.0
    try_timeout: float = 10.0
    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random

    def own(self, link: str) -> str:
        """A link of the server's at the address that we use: a token goes nowhere else."""
        return str(httpx2.URL(self.base_url).copy_with(raw_path=httpx2.URL(link).raw_path))

    def _url(self, url: str) -> str:
        if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", url):
            return self.own(url)
        return self.base_url.rstrip("/") + "/" + url.removeprefix("/")

    async def send(
        self, request: Request, deadline: Deadline, wait_seconds: float = 0.0, *, auth: bool = True,
        retry_codes: Collection[str] = ("not_decided",), retry_202: bool = False
    ) -> httpx2.Response:  # fmt: skip
        """The first success, with retries as in the table of docs/api.md ("Retry safely").

        Args:
            wait_seconds: how long the server may wait before it responds.
            retry_codes: of 4xx errors that pass by themselves, unless a purchase is rejected.
            retry_202: a 202 says that the decision is not known yet.
        """
        url = self._url(request.url)
        unknown, renewed, failures = False, False, 0
        for attempt in itertools.count():
            deadline.check()
            token = await self._token(deadline, None) if auth else None
            headers = request.headers | (_authorization(token) if token else {})
            seconds = min(wait_seconds + self.try_timeout, deadline.left())
            error: errors.EventifyError | None
            try:
                response = await self.driver.send(
                    replace(request, url=url, headers=headers, read_seconds=seconds)
                )
            except httpx2.UnsupportedProtocol:  # it never passes
                raise
            except httpx2.RequestError as lost:
                error = errors.NoResponse(f"{type(lost).__name__}: {lost}")
            else:
                error = _problem(response, request)
                if error is None and not (retry_202 and response.status_code == 202):
                    return response
            if auth and isinstance(error, errors.NotAuthenticated) and not renewed:
                renewed = True
                if await self._token(deadline, rejected=token) != token:
                    continue
            renewed = False
            if isinstance(error, errors.APIError):
                failures += error.status == 500
                if not _passes(error, retry_codes, failures):
                    raise error
            unknown |= not isinstance(error, errors.APIError) or error.status in UNKNOWN
            error = error or errors.NoResponse("It is stored, and not decided.")
            await self.pause(error, attempt, deadline, unknown)
        raise AssertionError

    async def pause(
        self, error: errors.EventifyError, attempt: int, deadline: Deadline, unknown: bool = True
    ) -> None:
        """Until the next try. If that is too late: DeadlineExceeded, or `error` if all is known."""
        longest = min(BACKOFF_SECONDS * 2.0 ** min(attempt, 16), BACKOFF_MAX_SECONDS)
        seconds = longest * self.random()  # exponential, with full jitter
        if error.retry_after is not None:
            seconds = error.retry_after + min(longest, JITTER_MAX_SECONDS) * self.random()
        if seconds >= deadline.left() and not unknown:
            raise error
        deadline.check(seconds, error)
        await self.driver.sleep(seconds)

    async def _token(self, deadline: Deadline, rejected: str | None) -> str | None:
        """One other than `rejected`, if there is a way: one call renews it, and the others wait."""
        if self.token == rejected and (self.source or self.username):
            await self.driver.acquire(self.lock, deadline.left())
            try:
                if self.token == rejected:
                    self.token = await self._renewed(deadline)
            finally:
                self.lock.release()
        return self.token

    async def _renewed(self, deadline: Deadline) -> str:
        if self.source:
            return str(await self.driver.call(self.source))
        sign_in: dict[str, Any] = {"username": self.username, "password": self.password}
        refresh, self.refresh = self.refresh, None  # good for one use, and its retries
        if refresh:
            try:
                return await self._pair("refresh/", {"refresh": refresh}, deadline)
            except errors.NotAuthenticated:
                pass
        return await self._pair("", sign_in, deadline)

    async def _pair(self, path: str, body: dict[str, Any], deadline: Deadline) -> str:
        request = Request(method="POST", url=f"/api/token/{path}", json=body)
        pair = (await self.send(request, deadline, auth=False)).json()
        self.refresh = pair["refresh"]
        return str(pair["access"])


def _passes(error: errors.APIError, retry_codes: Collection[str], failures: int) -> bool:
    if error.status == 500:
        return failures <= SERVER_ERRORS_MAX
    return error.status in RETRIED or (error.code in retry_codes and error.purchase_id is None)


def _authorization(token: str) -> dict[str, str]:
    token = token.strip()  # the end of the line of a file
    if not (token.isascii() and token.isprintable()):  # httpx2's own error shows it
        raise ValueError("The token is not printable ASCII.")
    return {"Authorization": f"Bearer {token}"}


def _problem(response: httpx2.Response, request: Request) -> errors.EventifyError | None:
    error = errors.error_of(response)
    empty = request.method == "HEAD" or response.status_code == 204
    if error is None and request.is_read_at_once(response) and not empty:
        try:
            is_ours = isinstance(response.json(), dict)
        except (ValueError, RecursionError):  # it was cut off, or is a page
            is_ours = False
        if not is_ours:
            return errors.NoResponse(f"The response {response.status_code} is not Eventify's.")
    return error


class ServerSentEvents:
    """The events of a stream of text that has come so far, by the HTML Standard."""

    def __init__(self) -> None:
        self.id, self.retry_seconds, self._rest = "", 1.0, ""

    def feed(self, text: str) -> Iterator[tuple[str, str]]:
        """The name and the data of each event that is complete now."""
        *complete, self._rest = re.split(r"\r\n\r\n|\n\n|\r\r", self._rest + text)
        for event in complete:
            fields: dict[str, str] = {}
            for line in re.split(r"\r\n|\n|\r", event.removeprefix("\ufeff")):
                name, _, value = line.partition(":")
                lines = f"{fields['data']}\n" if name == "data" and name in fields else ""
                fields[name] = lines + value.removeprefix(" ")
            if re.fullmatch("[0-9]{1,9}", fields.get("retry", "")):
                self.retry_seconds = int(fields["retry"]) / 1000
            self.id = fields.get("id", self.id)
            if "data" in fields:
                yield fields.get("event", "message"), fields["data"]

    def restart(self) -> float:
        """The stream ended: what is incomplete is void. Returns the seconds before the next."""
        self._rest = ""
        return self.retry_seconds
