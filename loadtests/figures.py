"""The figures of a sale that stand in Locust's statistics beside its requests.

They are kept out of Locust's "Aggregated" row, which stays one of HTTP requests only.
"""

from locust.stats import RequestStats

# Locust's column "Type" of all of them.
SALE = "SALE"
# Both from the moment at which the buyer meant to press the button, in milliseconds.
REQUEST_TO_202 = "request to 202"
REQUEST_TO_DECISION = "request to decision"
# A count, though Locust writes its figures under "ms".
POLLS_PER_PURCHASE = "polls per purchase (a count)"


def record(stats: RequestStats, name: str, value: float) -> None:
    """Add one value, milliseconds or a count, to the figure of this name."""
    stats.get(name, SALE).log(round(value), 0)


def record_undecided(stats: RequestStats, seconds: float) -> None:
    """A purchase was not decided in all this time, which counts as a failure."""
    stats.log_error(SALE, REQUEST_TO_DECISION, f"not decided within {seconds:.0f} s")
