"""Whether the process lives, and whether it can serve."""

from fastapi import APIRouter
from sqlalchemy import text

from catalog.dependencies import Database
from catalog.schemas import Health

# The gateway has routes of the same names; its document shows those.
router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz() -> Health:
    return Health()


@router.get("/readyz")
async def readyz(database: Database) -> Health:
    """200 when the database answers, else 503."""
    await database.ready(lambda session: session.execute(text("SELECT 1")))
    return Health()
