"""The metrics of the sender; docs/metrics.md says what each means to an operator."""

from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from shared.observability.metrics import SECONDS
from webhook_sender.schedule import Failure

RECEIVED = "received"

DELIVERIES = Counter(
    "eventify_webhook_deliveries_total",
    "Attempts to deliver to a webhook, by outcome: received, or the class of the failure",
    ["outcome"],
)
ENTRIES = Counter("eventify_webhook_entries_total", "Entries that webhooks have received")
DELIVERY_SECONDS = Histogram(
    "eventify_webhook_delivery_seconds", "Time of an attempt to deliver", buckets=SECONDS
)
IN_PROGRESS = Gauge(
    "eventify_webhook_deliveries_in_progress",
    "Deliveries in progress",
    multiprocess_mode="livesum",
)
DISABLED = Counter(
    "eventify_webhooks_disabled_total",
    "Webhooks that were disabled because they answered 410 (gone), or failed for days (failing)",
    ["reason"],
)
LAG_SECONDS = Gauge(
    "eventify_webhook_lag_seconds",
    "Age of the oldest entry that is still to be sent, but for events whose last delivery failed",
    multiprocess_mode="livemostrecent",
)
FAILING = Gauge(
    "eventify_webhooks_failing",
    "Webhooks whose last attempt of some delivery failed",
    multiprocess_mode="livemostrecent",
)
POLLED_TIMESTAMP_SECONDS = Gauge(
    "eventify_webhook_poll_timestamp_seconds",
    "When a sender last looked for what is to be sent",
    multiprocess_mode="livemostrecent",
)

# Exported as 0 from the start: Prometheus sees no increase in a series that appears as 1.
for outcome in (RECEIVED, *get_args(Failure)):
    DELIVERIES.labels(outcome)
for reason in ("gone", "failing"):
    DISABLED.labels(reason)
