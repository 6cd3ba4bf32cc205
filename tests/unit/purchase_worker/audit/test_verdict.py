"""The verdict of an audit in a sentence."""

from msgspec.structs import replace

from purchase_worker.audit.all_events import AuditReport, Invariant
from purchase_worker.audit.findings import DESCRIPTIONS
from purchase_worker.audit.verdict import (
    FINDING_MAX_CHARACTERS,
    FINDINGS_MAX,
    not_run,
    verdict_of,
)

CLEAN = AuditReport(
    ok=True,
    audited_at="",
    ticket_types=1,
    purchases=1_500,
    issued=1_000,
    held=5,
    sold=900,
    left=95,
    confirmed=900,
    open_holds=5,
    released=0,
    expired=0,
    rejected=595,
    queued=0,
    invariants=[Invariant(name, text, 1_501, 0, []) for name, text in DESCRIPTIONS.items()],
)


def test_a_sale_that_adds_up_passes() -> None:
    verdict = verdict_of(CLEAN, 1.23456)
    assert (verdict.status, verdict.entries, verdict.seconds) == ("passed", 1_501, 1.235)
    assert verdict.summary == (
        "All 1,501 entries add up: 900 sold + 5 held + 95 left = 1,000 issued."
    )


def test_one_that_does_not_names_what_is_broken_first() -> None:
    examples = [f"event 1: {n} {'x' * 1_000}" for n in range(30)]
    broken = [replace(CLEAN.invariants[0], violations=2_000, examples=examples)]
    verdict = verdict_of(replace(CLEAN, ok=False, invariants=broken + CLEAN.invariants[1:]), 1)
    assert verdict.status == "failed"
    assert verdict.summary == "2,000 violations found: inventory (2,000)."
    assert len(verdict.findings) == FINDINGS_MAX
    assert {len(finding) for finding in verdict.findings} == {FINDING_MAX_CHARACTERS}
    assert verdict.findings[0].startswith("inventory: event 1: 0")


def test_one_that_could_not_run_says_why() -> None:
    assert not_run("it took too long").summary == "The audit could not run: it took too long."
