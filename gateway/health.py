"""Probes: whether the process is running, and whether it is ready for requests."""

import asyncio
from typing import Literal

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import Engine, text
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.response_headers import FOR_BROWSERS
from gateway.responses import JSON, send_body, send_problem
from gateway.shutdown import Draining
from gateway.transactions import connection_transaction
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.concurrency.single_flight import READY_TIMEOUT_SECONDS, probe_of
from shared.errors import Unavailable
from shared.observability.metrics import NamedRoute
from shared.version import VERSION
from shared.web.openapi import error_responses, with_example

router = APIRouter(tags=["Operation"])
ALIVE, READY = NamedRoute("/healthz"), NamedRoute("/readyz")
ROUTES = {route.path: route for route in (ALIVE, READY)}
OK = msgspec.json.encode({"status": "ok", "version": VERSION})
DESCRIBED = "FastAPI describes this route; ProbeRoutes answers it."


class Health(BaseModel):
    """The process is running, or ready."""

    model_config = with_example({"status": "ok", "version": VERSION})

    status: Literal["ok"]
    version: str = Field(description="Of Eventify.")


class Readiness:
    """Asks the database, in a thread of its own so that no other work can hold up the answer."""

    def __init__(self, engine: Engine, draining: Draining) -> None:
        self._engine = engine
        self._draining = draining
        # A query that timed out may still have the thread; the next one then times out too.
        self._threads = BoundedExecutor("readiness", threads=1, waiting_max=1)
        self._look = probe_of(self._database_answers)

    async def check(self) -> None:
        """Raises:
        Unavailable: the process is stopping, or the database does not answer in time.
        """
        if self._draining.begun:
            raise Unavailable("This process is stopping.")
        if not await self._look.get():
            raise Unavailable("The database does not answer.")

    async def _database_answers(self) -> bool:
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                await self._threads.run(self._ask)
        except (TimeoutError, Unavailable):
            return False
        return True

    def close(self) -> None:
        self._threads.close()

    def _ask(self) -> None:
        with connection_transaction(self._engine) as connection:
            connection.execute(text("SELECT 1"))


class ProbeRoutes:
    """Answers probes as plain ASGI, and passes everything else to `fallback_app`.

    Anybody may probe as often as he likes: through FastAPI each takes 45 us more of the event loop.
    """

    def __init__(self, readiness: Readiness, fallback_app: ASGIApp) -> None:
        self._readiness = readiness
        self._fallback_app = fallback_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_probe = scope["type"] == "http" and scope["path"] in ROUTES
        if not is_probe or scope["method"] != "GET":
            await self._fallback_app(scope, receive, send)
            return
        scope["route"] = route = ROUTES[scope["path"]]
        try:
            if route is READY:
                await self._readiness.check()
        except Unavailable as problem:
            await send_problem(scope, send, problem, FOR_BROWSERS)
            return
        await send_body(scope, send, 200, [JSON, *FOR_BROWSERS], OK)


@router.get(
    ALIVE.path,
    operation_id="operation.healthz",
    summary="Is the process running?",
    response_description="It is running",
)
async def healthz() -> Health:
    """200 while the process is running."""
    raise NotImplementedError(DESCRIBED)


@router.get(
    READY.path,
    operation_id="operation.readyz",
    summary="Is it ready for requests?",
    response_description="It is ready",
    responses=error_responses(Unavailable("The database does not answer.")),
)
async def readyz() -> Health:
    """200 if the database answers and the process is not stopping. Redis is not required.

    Frequent probes share one query a second.
    """
    raise NotImplementedError(DESCRIBED)
