"""The rules of deliveries.

What follows an attempt: received, again after a time, or no more; and how long the next delivery
gathers entries.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

GONE: Final = 410
# Of a delivery.
ENTRIES_MAX: Final = 100
# A delivery waits so long for others to be sent with it, unless it is the first or full.
GATHER_ENTRIES_SECONDS: Final = 0.5
# Their `Retry-After` says when a receiver wants to be asked again.
ASKS_TO_WAIT: Final = frozenset({429, 503})

# `address`: not public. `connection`: refused, reset, or not HTTP. `status`: neither 2xx nor 3xx.
Failure = Literal["address", "dns", "connection", "tls", "timeout", "redirect", "status", "gone"]
DisabledReason = Literal["gone", "failing"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one attempt. `status`: None without a response. `failure`: None where it was received."""

    milliseconds: int
    status: int | None = None
    failure: Failure | None = None
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """The settings of retries."""

    first_seconds: float
    max_seconds: float
    give_up_seconds: float


@dataclass(frozen=True, slots=True)
class Received:
    pass


@dataclass(frozen=True, slots=True)
class Retry:
    after_seconds: float


@dataclass(frozen=True, slots=True)
class Disable:
    reason: DisabledReason


def outcome_of(status: int, milliseconds: int, retry_after_seconds: float | None) -> Outcome:
    """Of a response. A redirect is a failure: where it leads may be anywhere."""
    failure: Failure | None = None
    if 300 <= status < 400:
        failure = "redirect"
    elif status == GONE:
        failure = "gone"
    elif not 200 <= status < 300:
        failure = "status"
    wait = retry_after_seconds if status in ASKS_TO_WAIT else None
    return Outcome(milliseconds, status, failure, wait)


def next_step(
    outcome: Outcome,
    failures: int,
    failing_seconds: float,
    schedule: Schedule,
    jitter: Callable[[], float],
) -> Received | Retry | Disable:
    """What follows.

    Args:
        outcome: of the attempt.
        failures: attempts of this delivery that failed before.
        failing_seconds: since the first of them, less the time in which no sender could try it; 0
            where there is none.
        schedule: the settings.
        jitter: gives a number from 0 to 1: many that failed at once are not retried at once.
    """
    if outcome.failure is None:
        return Received()
    if outcome.failure == "gone":
        return Disable("gone")
    if failures and failing_seconds >= schedule.give_up_seconds:
        return Disable("failing")
    doublings = min(failures, 60)  # a larger power is beyond any time
    backoff = schedule.first_seconds * 2**doublings * (1 + jitter() / 2)
    asked = outcome.retry_after_seconds or 0.0
    return Retry(min(max(backoff, asked), schedule.max_seconds))


def gather_seconds(entries: int, span: int, behind: int, per_second: float) -> float:
    """When the delivery after this one is likely to be full; from the moment it was prepared.

    Many receivers of a busy event so get steadily what would come in bursts.

    Args:
        entries: of this one.
        span: how many numbers of the ledger they were chosen from.
        behind: how many numbers the ledger had after them.
        per_second: new numbers of the event.
    """
    share = entries / max(1, span)
    missing = ENTRIES_MAX - behind * share
    if missing <= 0:
        return 0.0
    return min(GATHER_ENTRIES_SECONDS, missing / max(per_second * share, 1e-3))
