"""Probes: whether the process is running, and whether it is ready for requests."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy import Engine, text

from gateway.shutdown import Draining
from gateway.transactions import connection_transaction
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.concurrency.single_flight import READY_TIMEOUT_SECONDS, probe_of
from shared.errors import Unavailable
from shared.version import VERSION
from shared.web.openapi import error_responses, with_example

router = APIRouter(tags=["Operation"])


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


@router.get(
    "/healthz",
    operation_id="operation.healthz",
    summary="Is the process running?",
    response_description="It is running",
)
async def healthz() -> Health:
    """200 while the process is running."""
    return Health(status="ok", version=VERSION)


@router.get(
    "/readyz",
    operation_id="operation.readyz",
    summary="Is it ready for requests?",
    response_description="It is ready",
    responses=error_responses(Unavailable("The database does not answer.")),
)
async def readyz(request: Request) -> Health:
    """200 if the database answers and the process is not stopping. Redis is not required.

    Frequent probes share one query a second.
    """
    readiness: Readiness = request.app.state.readiness
    await readiness.check()
    return Health(status="ok", version=VERSION)
