"""What an owner reads of an audit of his event. Pure."""

from typing import Final, Literal

import msgspec

from purchase_worker.audit.all_events import AuditReport
from purchase_worker.audit.findings import OUTCOMES

FINDINGS_MAX: Final = 20
FINDING_MAX_CHARACTERS: Final = 500

Status = Literal["passed", "failed", "error"]


class Verdict(msgspec.Struct, frozen=True):
    """`findings`: the first of them, a sentence each."""

    status: Status
    summary: str
    entries: int | None = None
    seconds: float | None = None
    findings: list[str] = []


def verdict_of(report: AuditReport, seconds: float) -> Verdict:
    broken = [invariant for invariant in report.invariants if invariant.violations]
    (entries,) = (each.checked for each in report.invariants if each.name == OUTCOMES)
    if report.ok:
        summary = (
            f"All {entries:,} entries add up: {report.sold:,} sold + {report.held:,} held"
            f" + {report.left:,} left = {report.issued:,} issued."
        )
    else:
        violations = sum(invariant.violations for invariant in broken)
        named = ", ".join(f"{each.name} ({each.violations:,})" for each in broken)
        summary = f"{violations:,} violation{'s' * (violations > 1)} found: {named}."
    findings = [f"{each.name}: {example}" for each in broken for example in each.examples]
    return Verdict(
        "passed" if report.ok else "failed",
        summary,
        entries,
        round(seconds, 3),
        [finding[:FINDING_MAX_CHARACTERS] for finding in findings[:FINDINGS_MAX]],
    )


def not_run(why: str) -> Verdict:
    return Verdict("error", f"The audit could not run: {why}.")
