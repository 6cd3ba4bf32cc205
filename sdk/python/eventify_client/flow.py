"""Requests with retries, as generators without I/O: they yield commands, and a driver obeys."""

import itertools
import json
import math
import random
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, TypeVar

import httpx2

from eventify_client import errors

T = TypeVar("T")
BACKOFF_SECONDS, BACKOFF_MAX_SECONDS = 0.25, 20.0
# Added to `Retry-After`, so that not all come back at the same moment.
JITTER_MAX_SECONDS = 1.0
SERVER_ERRORS_MAX = 3
RETRIED = (408, 429, 502, 503, 504)
UNKNOWN = (500, 502, 503, 504)


@dataclass(frozen=True, kw_only=True)
class Request:
    """The driver sends the Response or the RequestError. `stream`: NextChunk reads its body.

    `read_seconds`: how long the server may be silent.
    """

    method: str
    url: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    read_seconds: float = 0.0
    stream: bool = False


class NextChunk(NamedTuple):
    """The next text of a body that is streamed, or the RequestError; None: it has ended."""

    response: httpx2.Response


class Sleep(NamedTuple):
    seconds: float


class Call(NamedTuple):
    """An awaitable result is awaited. What `blocks` does not run in an event loop."""

    function: Callable[[], Any]
    blocks: bool = False


class Acquire(NamedTuple):
    lock: Any
    seconds: float


class Emit(NamedTuple, Generic[T]):
    """The next item of an iterator."""

    item: T


Command = Request | NextChunk | Sleep | Call | Acquire
Flow = Generator[Command, Any, T]
Items = Generator[Command | Emit[T], Any, None]


class Deadline:
    """For a whole call; None: as long as it takes."""

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
class Auth:
    """One thread or task renews the token, and the others wait for it."""

    lock: Any
    token: str | None = None
    source: Callable[[], Any] | None = None
    username: str | None = None
    password: str | None = None
    refresh: str | None = None

    def fetch(self, session: "Session", deadline: Deadline, rejected: str | None) -> Flow[Any]:
        """A token other than `rejected`, if there is a way to get one."""
        if self.token == rejected and (self.source or self.username):
            yield Acquire(self.lock, deadline.left())
            try:
                if self.token == rejected:
                    self.token = yield from self._renewed(session, deadline)
            finally:
                self.lock.release()
        return self.token

    def _renewed(self, session: "Session", deadline: Deadline) -> Flow[Any]:
        if self.source:
            return (yield Call(self.source))
        sign_in = {"username": self.username, "password": self.password}
        tries: list[tuple[str, Any]] = [("", sign_in)]
        if self.refresh:  # good for one use; the retries of `send` are within its grace
            tries, self.refresh = [("refresh/", {"refresh": self.refresh}), *tries], None
        for path, body in tries:
            request = Request(method="POST", url=f"/api/token/{path}", json=body)
            try:
                response = yield from session.send(request, deadline, auth=False)
            except errors.NotAuthenticated:
                if not path:
                    raise
            else:
                pair = response.json()
                self.refresh = pair["refresh"]
                return pair["access"]


@dataclass(kw_only=True)
class Session:
    """What all requests of a client share. `try_timeout` is for each try, without its wait."""

    base_url: str
    auth: Auth
    timeout: float | None = 120.0
    try_timeout: float = 10.0
    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random

    def deadline(self, seconds: float | None) -> Deadline:
        return Deadline(seconds, self.clock)

    def own(self, link: str) -> str:
        """A link of the server's at the address that we use: a token goes nowhere else."""
        return str(httpx2.URL(self.base_url).copy_with(raw_path=httpx2.URL(link).raw_path))

    def send(
        self,
        request: Request,
        deadline: Deadline,
        *,
        auth: bool = True,
        wait_seconds: float = 0.0,
        retry_codes: Collection[str] = ("not_decided",),
        retry_202: bool = False,
    ) -> Flow[httpx2.Response]:
        """The first success, with retries as in the table of docs/api.md ("Retry safely").

        Args:
            wait_seconds: how long the server may wait before it responds.
            retry_codes: of 4xx errors that pass by themselves, unless a purchase is rejected.
            retry_202: a 202 says that the decision is not known yet.
        """
        url = request.url if "://" in request.url else self.base_url.rstrip("/") + request.url
        unknown, renewed, failures = False, False, 0
        for attempt in itertools.count():
            deadline.check()
            token = (yield from self.auth.fetch(self, deadline, None)) if auth else None
            headers = {**request.headers, **({"Authorization": f"Bearer {token}"} if token else {})}
            seconds = min(wait_seconds + self.try_timeout, deadline.left())
            answer = yield replace(request, url=url, headers=headers, read_seconds=seconds)
            error = _problem(answer, request.stream)
            if error is None and not (retry_202 and answer.status_code == 202):
                return answer  # type: ignore[no-any-return]
            if auth and isinstance(error, errors.NotAuthenticated) and not renewed:
                renewed = True
                if (yield from self.auth.fetch(self, deadline, token)) != token:
                    continue
            renewed = False
            if isinstance(error, errors.APIError):
                failures += error.status == 500
                if not _passes(error, retry_codes, failures):
                    raise error
            unknown |= not isinstance(error, errors.APIError) or error.status in UNKNOWN
            error = error or errors.NoResponse("It is stored, and not decided.")
            yield from self.pause(error, attempt, deadline, unknown)
        raise AssertionError

    def pause(
        self, error: errors.EventifyError, attempt: int, deadline: Deadline, unknown: bool = True
    ) -> Flow[None]:
        """Until the next try. If that is too late: DeadlineExceeded, or `error` if all is known."""
        seconds = self.seconds_until_retry(error.retry_after, attempt)
        if seconds >= deadline.left() and not unknown:
            raise error
        deadline.check(seconds, error)
        yield Sleep(seconds)

    def seconds_until_retry(self, retry_after: float | None, attempt: int) -> float:
        """`Retry-After` with little jitter, or else exponential with full jitter."""
        longest = min(BACKOFF_SECONDS * 2.0 ** min(attempt, 16), BACKOFF_MAX_SECONDS)
        if retry_after is None:
            return longest * self.random()
        return retry_after + min(longest, JITTER_MAX_SECONDS) * self.random()


def _passes(error: errors.APIError, retry_codes: Collection[str], failures: int) -> bool:
    if error.status == 500:
        return failures <= SERVER_ERRORS_MAX
    return error.status in RETRIED or (error.code in retry_codes and error.purchase_id is None)


def _problem(answer: Any, stream: bool) -> errors.EventifyError | None:
    """What is wrong with a response, or that there is none."""
    if not isinstance(answer, httpx2.Response):
        return errors.NoResponse(f"{type(answer).__name__}: {answer}")
    error = errors.error_of(answer)
    if error is None and not (stream and answer.status_code == 200) and answer.content:
        try:
            answer.json()
        except ValueError:  # it was cut off, or is not Eventify's
            return errors.NoResponse(f"The response {answer.status_code} is not JSON.")
    return error


class ServerSentEvents:
    """The events of a stream of text that has come so far."""

    def __init__(self) -> None:
        self.id, self.retry_seconds, self._rest = "", 1.0, ""

    def feed(self, text: str) -> Iterator[tuple[str, Any]]:
        """The name and the data of each event that is complete now."""
        *complete, self._rest = (self._rest + text).split("\n\n")
        for event in complete:
            fields = dict(line.partition(": ")[::2] for line in event.split("\n"))
            self.retry_seconds = int(fields.get("retry", 1000 * self.retry_seconds)) / 1000
            self.id = fields.get("id", self.id)
            if "data" in fields:
                yield fields.get("event", "message"), json.loads(fields["data"])

    def restart(self) -> float:
        """The stream ended: what is incomplete is void. Returns the seconds before the next."""
        self._rest = ""
        return self.retry_seconds
