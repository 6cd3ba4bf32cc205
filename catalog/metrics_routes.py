"""What a monitoring system reads of a catalog."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from shared.concurrency.single_flight import SingleFlight

# The gateway has a route of the same name; its document shows that one.
router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """In the text format of Prometheus; the database is not asked."""
    scrape: SingleFlight[bytes] = request.app.state.metrics
    return Response(await scrape.get(), media_type=CONTENT_TYPE_LATEST)
