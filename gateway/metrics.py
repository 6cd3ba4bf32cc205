"""What a gateway counts: docs/metrics.md says what each of them means to an operator."""

from collections.abc import Iterator

from prometheus_client import Counter, Gauge, Histogram

from shared.errors import Problem
from shared.observability.metrics import ROWS, SECONDS

ACCEPTED = Counter(
    "eventify_purchases_accepted_total", "Purchases that were stored, and so will be decided"
)
REFUSED = Counter(
    "eventify_purchases_refused_total",
    "Requests to buy that were refused at the door, by the code of the refusal",
    ["code"],
)
RATE_LIMITED = Counter(
    "eventify_rate_limited_total", "Requests beyond what one may ask, by the limit", ["policy"]
)
ACCEPT_BATCH_ROWS = Histogram(
    "eventify_accept_batch_rows", "Requests that one statement took in", buckets=ROWS
)
ACCEPT_COMMIT_SECONDS = Histogram(
    "eventify_accept_commit_seconds",
    "The statement that checks, stores and commits a batch of requests, repeats included",
    buckets=SECONDS,
)
WAKEUPS_SENT = Counter("eventify_wakeups_sent_total", "Wake-ups of the workers that were sent")
WAKEUPS_FAILED = Counter(
    "eventify_wakeups_failed_total",
    "Wake-ups that could not be sent, or were left out in the second after such a one",
)
CLIENTS_WAITING = Gauge(
    "eventify_clients_waiting",
    "Clients that wait for a decision, or follow one",
    multiprocess_mode="livesum",
)
# Of the whole system, whichever gateway tells: the one that looked last.
QUEUED = Gauge(
    "eventify_purchases_queued",
    "Purchases that are queued in the whole system, up to the limit of the backlog",
    multiprocess_mode="livemostrecent",
)
OLDEST_QUEUED_SECONDS = Gauge(
    "eventify_oldest_queued_seconds",
    "How long the oldest of them has been queued",
    multiprocess_mode="livemostrecent",
)
QUEUE_READ_TIMESTAMP_SECONDS = Gauge(
    "eventify_queue_read_timestamp_seconds",
    "When the database last told of the queue",
    multiprocess_mode="livemostrecent",
)


def _codes(kind: type[Problem]) -> Iterator[str]:
    yield kind.code
    for more_special in kind.__subclasses__():
        yield from _codes(more_special)


# Told as 0 from the start: Prometheus sees no increase in what appears as 1.
for code in _codes(Problem):
    REFUSED.labels(code)
for policy in ("purchases", "sign-in"):
    RATE_LIMITED.labels(policy)
