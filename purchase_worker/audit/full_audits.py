"""The results of `eventify audit --record`, and the metrics that alerts go by.

A process that ends after minutes is scraped by nobody: it stores its result, and sweepers export
the newest.
"""

from sqlalchemy import Engine

from purchase_worker import metrics
from purchase_worker.audit.all_events import AuditReport
from purchase_worker.audit.findings import OUTCOMES
from shared.database.engine import cursor_transaction, statement

RECORD = """
INSERT INTO full_audits (violations, entries, seconds)
VALUES (%(violations)s, %(entries)s, %(seconds)s)
"""
# Where none has passed: since when there is something to audit.
READ = """
SELECT extract(epoch FROM coalesce(
           (SELECT at FROM full_audits WHERE violations = 0 ORDER BY id DESC LIMIT 1),
           (SELECT since FROM ledger_epoch)))::float8,
       coalesce((SELECT violations FROM full_audits ORDER BY id DESC LIMIT 1), 0)
"""

# Two years of four a day.
KEPT = 3_000
FORGET = f"""
DELETE FROM full_audits
WHERE id <= (SELECT id FROM full_audits ORDER BY id DESC OFFSET {KEPT} LIMIT 1)
"""


def record(engine: Engine, report: AuditReport, seconds: float) -> None:
    """Raises psycopg2.Error: the database is unavailable, or this login may not record."""
    (entries,) = (each.checked for each in report.invariants if each.name == OUTCOMES)
    violations = sum(invariant.violations for invariant in report.invariants)
    with cursor_transaction(engine) as cursor:
        cursor.execute(
            RECORD, {"violations": violations, "entries": entries, "seconds": round(seconds, 3)}
        )


def export(engine: Engine) -> None:
    """Set the metrics, and delete old results. Raises DATABASE_UNAVAILABLE."""
    with statement(engine) as cursor:
        cursor.execute(READ)
        passed_at, violations = cursor.fetchone() or (0.0, 0)
        cursor.execute(FORGET)
    metrics.FULL_AUDIT_PASSED_TIMESTAMP_SECONDS.set(passed_at)
    metrics.FULL_AUDIT_VIOLATIONS.set(violations)
