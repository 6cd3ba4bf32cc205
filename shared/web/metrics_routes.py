"""Metrics for Prometheus; the application keeps the scrape in `app.state.metrics`."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from shared.concurrency.single_flight import SingleFlight

router = APIRouter(tags=["Operation"])
EXAMPLE = "# HELP eventify_purchases_queued ...\n# TYPE eventify_purchases_queued gauge\n"


@router.get(
    "/metrics",
    operation_id="operation.metrics",
    summary="Figures for monitoring",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": EXAMPLE}}}},
)
async def metrics(request: Request) -> Response:
    """In the text format of Prometheus, without a query to the database or Redis."""
    scrape: SingleFlight[bytes] = request.app.state.metrics
    return Response(await scrape.get(), media_type=CONTENT_TYPE_LATEST)
