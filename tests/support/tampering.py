"""Changes of a ledger that no code makes, and what an audit finds of them."""

from purchase_worker.audit.all_events import AuditReport


def entry(number: int, change: str) -> str:
    return f"UPDATE ledger SET {change} WHERE number = {number}"


def asked(number: int, change: str) -> str:
    """The request of an entry."""
    which = f"(SELECT command_id FROM ledger WHERE number = {number})"
    return f"UPDATE requests SET {change} WHERE id = {which}"


def broken(report: AuditReport) -> set[str]:
    return {invariant.name for invariant in report.invariants if invariant.violations}
