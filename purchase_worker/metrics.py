"""The metrics of worker and sweeper; docs/metrics.md says what each means to an operator."""

from prometheus_client import Counter, Gauge, Histogram

from purchase_worker.audit.findings import INVENTORY, NUMBERING
from purchase_worker.decision import ALL_HELD, NOT_ENOUGH_TICKETS, OVER_USER_LIMIT
from shared.observability.metrics import ROWS, SECONDS, ManyHistogram
from shared.purchases import CONFIRMED, HELD

DECIDED = Counter(
    "eventify_purchases_decided_total",
    "Commands decided, by outcome: purchases and what confirms, ends, cancels or extends them",
    ["outcome"],
)
REQUEST_TO_DECISION_SECONDS = ManyHistogram(
    "eventify_request_to_decision_seconds",
    "Time from a command's acceptance to the commit of its decision, by the database's clock",
    # A percentile is a guess between two bounds; an alert compares this one with 2 s.
    buckets=sorted((*SECONDS, 2)),
)
DRAIN_BATCH_ROWS = Histogram(
    "eventify_drain_batch_rows", "Commands decided by one transaction", buckets=ROWS
)
LOCK_SECONDS = Histogram(
    "eventify_drain_lock_seconds",
    "Time until a batch had locked its events, or had skipped them all as locked",
    buckets=SECONDS,
)
COMMIT_SECONDS = Histogram(
    "eventify_drain_commit_seconds",
    "Time of the round trip that writes a batch's outcomes and commits them",
    buckets=SECONDS,
)
SKIPPED_LOCKED = Counter(
    "eventify_drain_skipped_locked_total",
    "Events that a batch skipped because another process had locked them",
)
RESULTS_NOT_PUBLISHED = Counter(
    "eventify_results_not_published_total",
    "Batches whose results could not be published in Redis; clients read them from PostgreSQL",
)
DRAINS_INTERRUPTED = Counter(
    "eventify_drains_interrupted_total",
    "Drains that ended because the database was unavailable, or a statement took too long",
)
RESCUED = Counter(
    "eventify_sweeper_decisions_total",
    "Commands that the sweeper decided because no worker did; decided_total includes them",
)
SWEPT_TIMESTAMP_SECONDS = Gauge(
    "eventify_sweep_timestamp_seconds",
    "When a sweeper last finished a pass, or skipped it because another was elected",
    multiprocess_mode="livemostrecent",
)
AUDIT_VIOLATIONS = Counter(
    "eventify_audit_violations_total",
    "Times that an event's lane or counters and its entries since the last check differed",
    ["invariant"],
)
AUDIT_CHECKED = Counter(
    "eventify_audit_checked_total", "Entries that lanes and counters were checked against"
)
AUDIT_TIMESTAMP_SECONDS = Gauge(
    "eventify_audit_timestamp_seconds",
    "When lanes and counters were last checked against the entries",
    multiprocess_mode="livemostrecent",
)
LANE_AHEAD_SECONDS = Gauge(
    "eventify_lane_ahead_seconds",
    "By how much the last decision of an event is ahead of the database's clock: of the farthest",
    multiprocess_mode="livemostrecent",
)
FULL_AUDIT_PASSED_TIMESTAMP_SECONDS = Gauge(
    "eventify_full_audit_passed_timestamp_seconds",
    "When `eventify audit --record` last passed; before the first time, since when there are sales",
    multiprocess_mode="livemostrecent",
)
FULL_AUDIT_VIOLATIONS = Gauge(
    "eventify_full_audit_violations",
    "Violations that the newest `eventify audit --record` found",
    multiprocess_mode="livemostrecent",
)

# Exported as 0 from the start: Prometheus sees no increase in a series that appears as 1.
for outcome in (CONFIRMED, HELD, NOT_ENOUGH_TICKETS, ALL_HELD, OVER_USER_LIMIT):
    DECIDED.labels(outcome)
for invariant in (INVENTORY, NUMBERING):
    AUDIT_VIOLATIONS.labels(invariant)
