"""What alerts know of audits of all sales."""

from datetime import timedelta

import msgspec
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine

from purchase_worker.audit import full_audits
from purchase_worker.audit.all_events import audit
from shared.config.settings import Settings
from tests.support.factories import add_ticket_type, run, scalar

PASSED_AT = "eventify_full_audit_passed_timestamp_seconds"
VIOLATIONS = "eventify_full_audit_violations"


def exported(engine: Engine) -> tuple[float | None, float | None]:
    full_audits.export(engine)
    return REGISTRY.get_sample_value(PASSED_AT), REGISTRY.get_sample_value(VIOLATIONS)


def test_the_newest_violations_and_the_last_pass_are_exported(
    engine: Engine, settings: Settings
) -> None:
    add_ticket_type(engine, 5)
    passes = audit(engine, settings)
    first, *others = passes.invariants
    fails = msgspec.structs.replace(
        passes, ok=False, invariants=[msgspec.structs.replace(first, violations=3), *others]
    )
    since = scalar(engine, "SELECT extract(epoch FROM since)::float8 FROM ledger_epoch")
    # Sales that nobody has audited yet are late from their first day on.
    assert exported(engine) == (pytest.approx(since), 0)
    full_audits.record(engine, fails, seconds=1)
    assert exported(engine) == (pytest.approx(since), 3)
    full_audits.record(engine, passes, seconds=1)
    passed_at = scalar(engine, "SELECT extract(epoch FROM max(at))::float8 FROM full_audits")
    assert exported(engine) == (pytest.approx(passed_at), 0)
    run(
        engine,
        "INSERT INTO full_audits (violations, entries, seconds)"
        " SELECT 1, 1, 1 FROM generate_series(1, :older)",
        older=full_audits.KEPT,
    )
    full_audits.record(engine, passes, seconds=1)
    exported(engine)
    assert scalar(engine, "SELECT count(*) FROM full_audits") == full_audits.KEPT
    passed_at = scalar(engine, "SELECT extract(epoch FROM max(at))::float8 FROM full_audits")
    run(engine, "UPDATE full_audits SET at = at - :day", day=timedelta(days=1))
    full_audits.record(engine, fails, seconds=1)
    assert exported(engine) == (pytest.approx(passed_at - 86_400), 3)
