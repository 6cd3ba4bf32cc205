"""What a monitoring system reads of a catalog."""

import asyncio

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

# The gateway has a route of the same name; its document shows that one.
router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """In the text format of Prometheus; the database is not asked."""
    told = await asyncio.to_thread(generate_latest, request.app.state.metrics)
    return Response(told, media_type=CONTENT_TYPE_LATEST)
