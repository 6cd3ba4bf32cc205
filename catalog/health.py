"""Probes: whether the process is running, and whether it can serve."""

import asyncio

from fastapi import APIRouter, Request
from sqlalchemy import text

from catalog.database_threads import DatabaseThreads
from shared.concurrency.single_flight import READY_TIMEOUT_SECONDS, SingleFlight, probe_of
from shared.errors import Unavailable
from shared.version import VERSION

# The gateway has routes of the same names; its OpenAPI document describes them.
router = APIRouter(include_in_schema=False)
OK = {"status": "ok", "version": VERSION}


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    return OK


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, str]:
    """200 when the database answers, else 503; probes share one query a second."""
    readiness: SingleFlight[None] = request.app.state.readiness
    await readiness.get()
    return OK


def open_readiness(database: DatabaseThreads) -> SingleFlight[None]:
    async def query() -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                await database.ready(lambda session: session.execute(text("SELECT 1")))
        except TimeoutError as error:
            raise Unavailable("The database does not answer.") from error

    return probe_of(query)
