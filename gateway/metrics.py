"""What a monitoring system reads of a gateway, in the text format of Prometheus.

What stands in the database is the same whichever gateway answers; the rest is of the process that
does, which `process_start_time_seconds` tells apart.
"""

from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from gateway.purchases.service import PurchaseService

router = APIRouter(tags=["Operation"])
EXAMPLE = "# HELP eventify_purchases_queued ...\n# TYPE eventify_purchases_queued gauge\n"


class GatewayCollector(Collector):
    """Reads the gateway's own figures at the moment of each scrape."""

    def __init__(self, purchases: PurchaseService) -> None:
        self._purchases = purchases

    def collect(self) -> Iterator[Metric]:
        purchases = self._purchases
        yield GaugeMetricFamily(
            "eventify_purchases_queued",
            "Purchases that are queued in the whole system, as counted about a second ago",
            purchases.queued,
        )
        yield GaugeMetricFamily(
            "eventify_clients_waiting",
            "Clients that wait for a decision at this gateway, or follow one",
            purchases.waiting,
        )
        yield CounterMetricFamily(
            "eventify_hints_failed",
            "Wake-ups of the workers that this gateway could not send",
            purchases.hints_failed,
        )


def open_registry(purchases: PurchaseService) -> CollectorRegistry:
    """What this process tells: its own figures, and those of the operating system about it."""
    registry = CollectorRegistry()
    registry.register(GatewayCollector(purchases))
    ProcessCollector(registry=registry)
    return registry


@router.get(
    "/metrics",
    summary="Figures for monitoring",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": EXAMPLE}}}},
)
async def metrics(request: Request) -> Response:
    """In the text format of Prometheus. Neither database nor Redis is asked."""
    return Response(generate_latest(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)
