"""The metrics of every service, and what their definitions share.

Each service but the catalog has its own in a file like this one; docs/metrics.md lists all.
"""

from bisect import bisect_left
from functools import lru_cache
from typing import Final, NamedTuple

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from starlette.types import Scope

from shared.version import VERSION

# The creation time of a series has no meaning for several processes.
disable_created_metrics()  # type: ignore[no-untyped-call]

# Upper bounds. A commit takes 1 ms, a request to its decision 20 ms, a lost wake-up a second.
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Up to what one statement takes (`accept_batch_rows`, `drain_close_rows`).
ROWS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000)
METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class NamedRoute(NamedTuple):
    """For `scope["route"]` where no framework's router sets it."""

    path: str


class ManyHistogram(Histogram):
    """A histogram that takes many equal observations at the cost of one.

    prometheus-client has no public way: hence its private attributes.
    """

    def observe_many(self, amount: float, count: int) -> None:
        self._sum.inc(amount * count)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(count)


BUILD_INFO = Gauge(
    "eventify_build_info", "1, of each version that runs", ["version"], multiprocess_mode="livemax"
)
BUILD_INFO.labels(VERSION).set(1)
HTTP_REQUESTS = Counter(
    "eventify_http_requests_total",
    "HTTP responses, by the template of their route",
    ["service", "method", "route", "status"],
)
SERVER_ERRORS = Counter(
    "eventify_server_errors_total", "HTTP responses with status 500: unexpected errors", ["service"]
)
EVENT_LOOP_LAG_SECONDS = Histogram(
    "eventify_event_loop_lag_seconds",
    "Delay of a timer on the event loop, measured four times a second",
    ["service"],
    buckets=SECONDS,
)
EVENT_LOOP_TIMESTAMP_SECONDS = Gauge(
    "eventify_event_loop_timestamp_seconds",
    "When a timer last fired on the event loop: of the process where that is longest ago",
    ["service"],
    multiprocess_mode="livemin",
)
POOL_WAIT_SECONDS = Histogram(
    "eventify_pool_wait_seconds",
    "Time to get a database connection from the process's pool, or to open one",
    ["process"],
    buckets=SECONDS,
)


def count_answer(service: str, scope: Scope) -> None:
    """Count a response by its request's scope; a request without a response is not counted."""
    status: int | None = scope.get("status")
    if status is not None:
        # Not the path, which a client can make up.
        route: str = getattr(scope.get("route"), "path", "none")
        _answers(service, scope["method"], route, status).inc()
        if status == 500:
            SERVER_ERRORS.labels(service).inc()


@lru_cache(maxsize=1_000)
def _answers(service: str, method: str, route: str, status: int) -> Counter:
    """Cached, as `labels` takes a lock and four times as long."""
    known = method if method in METHODS else "other"
    return HTTP_REQUESTS.labels(service, known, route, status)
