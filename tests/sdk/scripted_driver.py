"""A driver without I/O: its clock is advanced by sleeps, and its responses are given."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx2
from eventify_client.drivers import Request, SyncDriver
from eventify_client.flow import Session
from eventify_client.operations import Events, Purchases

Scripted = httpx2.Response | httpx2.RequestError
LOST = httpx2.ReadError("the connection was lost")


class ScriptedDriver(SyncDriver):
    """The last response is repeated. `seconds_of_try`: how long each request takes."""

    def __init__(self, *responses: Scripted, seconds_of_try: float = 0.0) -> None:
        self.responses = list(responses)
        self.requests: list[Request] = []
        self.sleeps: list[float] = []
        self.now = 0.0
        self.seconds_of_try = seconds_of_try

    async def send(self, request: Request) -> httpx2.Response:
        self.requests.append(request)
        self.now += min(self.seconds_of_try, request.read_seconds)
        first, *rest = self.responses
        self.responses = rest or [first]
        if isinstance(first, httpx2.RequestError):
            raise first
        return first

    async def chunks(self, response: httpx2.Response) -> AsyncGenerator[str, None]:
        for text in response.text.splitlines(keepends=True):
            yield text

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    async def acquire(self, lock: Any, seconds: float) -> None:
        assert not lock.held
        lock.held = True

    @property
    def keys(self) -> set[str]:
        return {one.headers["Idempotency-Key"] for one in self.requests if one.method == "POST"}


class Lock:
    held = False

    def release(self) -> None:
        self.held = False


def session(driver: ScriptedDriver, **options: Any) -> Session:
    options = {"timeout": 60.0, "random": lambda: 1.0} | options
    return Session(
        base_url="http://api", driver=driver, lock=Lock(), clock=lambda: driver.now, **options
    )


def purchases(driver: ScriptedDriver, **options: Any) -> Purchases[SyncDriver]:
    return Purchases(session(driver, **options), driver)


def events(driver: ScriptedDriver, **options: Any) -> Events[SyncDriver]:
    return Events(session(driver, **options), driver)


def problem(status: int, code: str = "", headers: Any = None, **more: Any) -> httpx2.Response:
    body = {"status": status, "code": code, "detail": "", **more}
    return httpx2.Response(status, json=body, headers=headers)


def purchase(status: str = "confirmed", code: int = 201, **headers: str) -> httpx2.Response:
    line = {"ticket_type": 1, "quantity": 2, "unit_price": "5.00", "total_price": "10.00"}
    body = {"id": "p-1", "event": 1, "status": status, "items": [line], "total_price": "10.00"}
    body |= {"currency": "EUR", "created_at": "2026-11-22T14:50:23Z"}
    body |= {"reason": "not_enough_tickets" if status == "rejected" else None, "later_field": 1}
    return httpx2.Response(
        code, json=body, headers={n.replace("_", "-"): v for n, v in headers.items()}
    )
