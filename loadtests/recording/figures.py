"""The figures of a sale in Locust's statistics, beside its requests.

They are kept out of Locust's "Aggregated" row, which stays one of HTTP requests only. Times are in
milliseconds, from the moment at which the buyer meant to press the button.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing Locust changes a process: only its own may
    from locust.stats import RequestStats

# Locust's column "Type" of all of them.
SALE = "SALE"
# How long a buyer stays for an outcome; the system's own waits are far below.
OUTCOME_TIMEOUT_SECONDS = 60.0
REQUEST_TO_202 = "request to 202"
# Of buyers that wait for the decision, within the POST or by long-poll.
REQUEST_TO_DECISION = "request to decision"
# Of buyers that poll: `Retry-After` is a second or more, so they know it no sooner.
REQUEST_TO_DECISION_POLLED = "request to decision, polled"
# Of buyers answered at once that it is sold out: nothing was stored, and nothing decided.
REQUEST_TO_SOLD_OUT = "request to sold out"
# Of all decisions, waited for or polled.
REQUEST_TO_CONFIRMED = "request to confirmed"
REQUEST_TO_HELD = "request to held"
REQUEST_TO_REJECTED = "request to rejected"
# Of what is held, from the shop's first request on.
PAYMENT_TO_CONFIRMED = "payment to confirmed"
PAYMENT_TO_HOLD_OVER = "payment to given back"
# Held, and not paid on purpose; released, or left to expire.
ABANDONED = "held to abandoned"
# The end of the names of requests with that answer.
SOLD_OUT = "[sold out]"


def retry_after(status: int) -> str:
    """The end of the names of requests that were answered with `Retry-After`."""
    return f"[{status}, Retry-After]"


def gave_up(name: str) -> str:
    """Of buyers that `name` counts, those who were told to come again until they left."""
    return f"{name} [gave up]"


# A count, though Locust shows all of its figures as milliseconds.
POLLS_PER_PURCHASE = "polls per purchase (a count)"


def record(stats: "RequestStats", name: str, value: float) -> None:
    stats.get(name, SALE).log(round(value), 0)


def record_undecided(stats: "RequestStats", name: str) -> None:
    stats.log_error(SALE, name, f"not decided within {OUTCOME_TIMEOUT_SECONDS:.0f} s")


def waits(stats: "RequestStats", name: str) -> dict[int, int]:
    """The histogram of a figure in milliseconds, in which those who left without an outcome waited
    for as long as a buyer stays."""
    entry, given_up = stats.get(name, SALE), stats.entries.get((gave_up(name), SALE))
    counts = dict(entry.response_times)
    left = entry.num_failures + (given_up.num_requests if given_up is not None else 0)
    if left:
        stayed_ms = round(1000 * OUTCOME_TIMEOUT_SECONDS)
        counts[stayed_ms] = counts.get(stayed_ms, 0) + left
    return counts
