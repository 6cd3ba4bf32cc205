"""What the audit holds a sale to, and what it found."""

from collections import Counter, defaultdict
from typing import Final

INVENTORY: Final = "inventory"
NUMBERING: Final = "numbering"
OUTCOMES: Final = "outcomes"
USER_LIMITS: Final = "user_limits"
HOLDS: Final = "holds"
PAYMENTS: Final = "payments"
FIRST_COME: Final = "first_come"
QUEUE: Final = "queue"
GUARDS: Final = "guards"

DESCRIPTIONS: Final = {
    INVENTORY: "sold + held + left = issued, and never less than nothing left, after every entry",
    NUMBERING: "every request waits or has its entry; entries are numbered 1, 2, 3 ... by batches",
    OUTCOMES: "each outcome, and what was left after it, is what the rule gives",
    USER_LIMITS: "no buyer has more than the limits that were accepted with the request",
    HOLDS: "what is held, and until when, is what the entries give",
    PAYMENTS: "each payment confirms one purchase, and is of its price",
    FIRST_COME: "no request was decided before an earlier one that was visible",
    QUEUE: "nothing has been queued for too long",
    GUARDS: "the database's own guards of these rows are in place and enabled",
}
# Violations that are listed; all are counted.
EXAMPLES_MAX = 20


def shown(text: str) -> str:
    """A text of a file that a terminal shows and does not obey."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


class Findings:
    """The violations: how many of each invariant, and examples."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, invariant: str, detail: str, event_id: int | None = None) -> None:
        """`event_id` None: it concerns them all."""
        self.counts[invariant] += 1
        if self.counts[invariant] <= EXAMPLES_MAX:
            where = "" if event_id is None else f"event {event_id}: "
            self.examples[invariant].append(where + shown(detail))
