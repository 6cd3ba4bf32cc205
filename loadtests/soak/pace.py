"""How a run of minutes is made like days of sales: its steps, and for how long things are kept."""

import msgspec

from loadtests.soak.load.plan import BUYERS


class Pace(msgspec.Struct, frozen=True):
    """Everything that depends on the length of a run; times in seconds."""

    run_seconds: float

    @property
    def sample_seconds(self) -> float:
        return _within(1.0, self.run_seconds / 360, 10.0)

    @property
    def bucket_seconds(self) -> float:
        """Of latencies: a minute, where the run has some of them."""
        return _within(1.0, self.run_seconds / 20, 60.0)

    @property
    def sale_seconds(self) -> float:
        return _within(4.0, self.run_seconds / 15, 120.0)

    @property
    def tokens_seconds(self) -> float:
        """Before the tokens of an hour end."""
        return min(self.run_seconds / 8, 1_800.0)

    @property
    def audit_seconds(self) -> float:
        """From one recorded audit to the next; the CronJob's are six hours apart."""
        return self.run_seconds / 6

    @property
    def refresh_token_seconds(self) -> int:
        return max(30, round(self.run_seconds / 12))

    def settings(self) -> dict[str, str]:
        """What is kept for a day or an hour is kept for a twelfth of the run."""
        return {
            "EVENTIFY_REFRESH_TOKEN_SECONDS": str(self.refresh_token_seconds),
            "EVENTIFY_REFRESH_CLEANUP_SECONDS": str(max(1.0, self.run_seconds / 120)),
            "EVENTIFY_RESULT_TTL_SECONDS": str(max(10, round(self.run_seconds / 12))),
            "EVENTIFY_TOKEN_CACHE_ROWS": str(2 * BUYERS),
            # A burst of 0, as in the benchmark, would turn the limits off.
            "EVENTIFY_PURCHASE_RATE_BURST": "20",
            "EVENTIFY_WAITING_MAX_ROWS_OF_USER": "200",
        }


def _within(least: float, value: float, most: float) -> float:
    return min(max(least, value), most)
