"""A client without a network: its clock is advanced by sleeps, and its responses are given."""

from collections.abc import Iterator
from json import loads
from typing import Any

import httpx2
from eventify_client import Client

Scripted = httpx2.Response | httpx2.RequestError
LOST = httpx2.ReadError("the connection was lost")


class ScriptedDriver(httpx2.BaseTransport):
    """The last response is repeated. `seconds_of_try`: how long each request takes.

    `seconds_of_line`: how long each line of a stream takes.
    """

    def __init__(
        self, *responses: Scripted, seconds_of_try: float = 0.0, seconds_of_line: float = 0.0
    ) -> None:
        self.responses = list(responses)
        self.requests: list[httpx2.Request] = []
        self.reads: list[float] = []
        self.sleeps: list[float] = []
        self.now = 0.0
        self.seconds_of_try = seconds_of_try
        self.seconds_of_line = seconds_of_line

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url, extensions = str(request.url), dict(request.extensions)
        headers, content = request.headers.copy(), request.read()
        sent = httpx2.Request(
            request.method, url, headers=headers, content=content, extensions=extensions
        )
        self.requests.append(sent)
        self.reads.append(extensions["timeout"]["read"])
        self.now += min(self.seconds_of_try, self.reads[-1])
        first, *rest = self.responses
        self.responses = rest or [first]
        if isinstance(first, httpx2.RequestError):
            raise first
        headers = httpx2.Headers(first.headers)
        if headers.get("Content-Type") == "text/event-stream":
            return httpx2.Response(200, headers=headers, content=self.lines(first.text))
        return httpx2.Response(first.status_code, headers=headers, content=first.content)

    def lines(self, text: str) -> Iterator[bytes]:
        for line in text.splitlines(keepends=True):
            self.now += self.seconds_of_line
            yield line.encode()

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    @property
    def bodies(self) -> list[Any]:
        return [loads(one.content) for one in self.requests if one.content]

    @property
    def keys(self) -> set[str]:
        return {one.headers["Idempotency-Key"] for one in self.requests if one.method == "POST"}


class ScriptedClient(Client):
    """`random` is 1 unless it is given."""

    def __init__(
        self, driver: ScriptedDriver, random: float = 1.0, refresh: str = "", **options: Any
    ) -> None:
        options = {"timeout": 60.0} | options
        http = httpx2.Client(transport=driver, verify=False)
        super().__init__("http://api", http=http, **options)
        self.driver, self._refresh = driver, refresh
        self._clock, self._random = lambda: driver.now, lambda: random

    async def _sleep(self, seconds: float) -> None:
        self.driver.sleep(seconds)


def purchases(driver: ScriptedDriver, **options: Any) -> Any:
    return ScriptedClient(driver, **options).purchases


def problem(status: int, code: str = "", headers: Any = None, **more: Any) -> httpx2.Response:
    body = {"status": status, "code": code, "detail": "", **more}
    return httpx2.Response(status, json=body, headers=headers)


def stream(text: str) -> httpx2.Response:
    return httpx2.Response(200, text=text, headers={"Content-Type": "text/event-stream"})


def purchase(status: str = "confirmed", code: int = 201, **headers: str) -> httpx2.Response:
    line = {"ticket_type": 1, "quantity": 2, "unit_price": "5.00", "total_price": "10.00"}
    body = {"id": "p-1", "event": 1, "status": status, "items": [line], "total_price": "10.00"}
    body |= {"currency": "EUR", "created_at": "2026-11-22T14:50:23Z"}
    body |= {"reason": "not_enough_tickets" if status == "rejected" else None, "later_field": 1}
    return httpx2.Response(
        code, json=body, headers={n.replace("_", "-"): v for n, v in headers.items()}
    )
