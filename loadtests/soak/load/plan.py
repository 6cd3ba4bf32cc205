"""What the load is: how much of what, for how long."""

import msgspec

# Tickets of a purchase, on average: `loadtests.selling`, with its carts.
TICKETS_EACH = 2.0
OPEN_SALES = 4
# Of them every second one holds its tickets, for the shortest time that there is.
HOLD_SECONDS = 30
BUYERS = 1_000
ACCOUNTS = 30
DECIDED_WAIT_SECONDS = 10
# Who has waited twice for so long, and pays three later, is long gone.
OUTSTANDING_SECONDS = 30


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The load of one run.

    Attributes:
        environment: in which the operator's command finds the system.
        key: of the organiser, with every scope.
        per_second: purchases, at fixed moments.
        seconds: for how long.
        sale_seconds: in which a sale sells out.
        bucket_seconds: of which latencies are summed up together.
        tokens_seconds: after which buyers have new tokens.
    """

    port: int
    environment: dict[str, str]
    key: str
    per_second: float
    seconds: float
    sale_seconds: float
    bucket_seconds: float
    tokens_seconds: float

    @property
    def capacity(self) -> int:
        """Of a sale, so that it sells out in its time."""
        return max(30, round(self.per_second * TICKETS_EACH * self.sale_seconds / OPEN_SALES))
