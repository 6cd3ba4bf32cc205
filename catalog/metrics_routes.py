"""Metrics of the catalog, for Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from shared.concurrency.single_flight import SingleFlight

# The gateway has a route of the same name; its OpenAPI document describes it.
router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    scrape: SingleFlight[bytes] = request.app.state.metrics
    return Response(await scrape.get(), media_type=CONTENT_TYPE_LATEST)
