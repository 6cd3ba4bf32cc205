"""The gateway's metrics, which docs/metrics.md explains."""

from collections.abc import Iterator

from prometheus_client import Counter, Gauge, Histogram

from shared.errors import Problem
from shared.observability.metrics import ROWS, SECONDS

ACCEPTED = Counter(
    "eventify_purchases_accepted_total",
    "Purchase requests that were accepted: stored, to be decided",
)
ERRORS = Counter(
    "eventify_purchase_errors_total",
    "Purchase requests that were answered with an error and not stored, by its code",
    ["code"],
)
RESOLUTIONS = Counter(
    "eventify_resolutions_total",
    "Requests to confirm, release, cancel or extend, by their outcome: decided, pending (202), or"
    " the code of the error",
    ["action", "outcome"],
)
RATE_LIMITED = Counter(
    "eventify_rate_limited_total", "Requests beyond a rate limit, by the limit", ["policy"]
)
ACCEPT_BATCH_ROWS = Histogram(
    "eventify_accept_batch_rows",
    "Purchase requests of one statement, refused ones included",
    buckets=ROWS,
)
ACCEPT_COMMIT_SECONDS = Histogram(
    "eventify_accept_commit_seconds",
    "Time of the statement that checks, inserts and commits a batch of requests, retries included",
    buckets=SECONDS,
)
SALES_READ_SECONDS = Histogram(
    "eventify_sales_read_seconds",
    "Time to read all published sales that requests want, at most one read at a time",
    buckets=SECONDS,
)
WAKEUPS_SENT = Counter("eventify_wakeups_sent_total", "Wake-ups sent to the workers")
WAKEUPS_FAILED = Counter(
    "eventify_wakeups_failed_total",
    "Wake-ups that could not be sent, or were skipped in the second after a failure",
)
CLIENTS_WAITING = Gauge(
    "eventify_clients_waiting",
    "Open long polls and event streams",
    multiprocess_mode="livesum",
)
# Of the whole system: the value of the gateway that read it last.
QUEUED = Gauge(
    "eventify_purchases_queued",
    "Queued purchases in the whole system, counted up to the backlog's limit",
    multiprocess_mode="livemostrecent",
)
BACKLOG_MAX_ROWS = Gauge(
    "eventify_backlog_max_rows",
    "Queued purchases at which gateways respond with 503 (EVENTIFY_BACKLOG_MAX_ROWS)",
    multiprocess_mode="livemostrecent",
)
OLDEST_QUEUED_SECONDS = Gauge(
    "eventify_oldest_queued_seconds",
    "Age of the oldest command that is next in its event's queue",
    multiprocess_mode="livemostrecent",
)
QUEUE_READ_TIMESTAMP_SECONDS = Gauge(
    "eventify_queue_read_timestamp_seconds",
    "When the queue was last read from the database",
    multiprocess_mode="livemostrecent",
)


def _codes(kind: type[Problem]) -> Iterator[str]:
    yield kind.code
    for more_special in kind.__subclasses__():
        yield from _codes(more_special)


# Exported as 0 from the start: Prometheus sees no increase in a series that starts with 1.
for code in _codes(Problem):
    ERRORS.labels(code)
for action in ("confirm", "release", "cancel", "extend-holds"):
    for outcome in ("decided", "pending", *_codes(Problem)):
        RESOLUTIONS.labels(action, outcome)
