"""`python -m loadtests.recording.sampling`: tells once a second how the rows of a sale stand.

A program of its own, because psycopg2 would stop every user of a Locust process while it waits. It
reads what to look at, one line of JSON for each sale, writes a line of JSON a second, and ends when
its input does.
"""

import select
import sys
import time
from io import FileIO

import msgspec
from sqlalchemy import Engine, text

from loadtests.recording.costs import Costs
from loadtests.verdict.database import open_database
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.errors import ConfigurationError

EVERY_SECONDS = 1.0
# The counters' rows, and a count over the partial index of what is queued: it grows with the queue
# alone, not with the sale.
LOOK = text("""
SELECT sum(issued - sold)::bigint, sum(decisions)::bigint,
       (SELECT count(*) FROM ticket_purchases
        WHERE ticket_type_id = ANY(:ids) AND status = 'queued')
FROM ticket_inventory WHERE ticket_type_id = ANY(:ids)
""")


class WatchRequest(msgspec.Struct, frozen=True):
    """What to look at: ticket types of the system whose gateway is `host`; none: at nothing."""

    host: str
    ticket_types: list[int]


class RowSample(msgspec.Struct, frozen=True):
    """The watched ticket types together, and what all cost so far.

    Attributes:
        at: seconds since 1970.
        cpu_seconds: by service, as `costs` tells.
    """

    at: float
    left: int
    decisions: int
    queued: int
    cpu_seconds: dict[str, float] = {}


def main() -> None:
    """Fulfil one wish after the other."""
    costs = Costs()
    # Unbuffered: what was read ahead would not be seen by select().
    with FileIO(sys.stdin.fileno(), closefd=False) as wishes:
        for line in wishes:
            wish = msgspec.json.decode(line, type=WatchRequest)
            if not wish.ticket_types:
                continue
            try:
                with open_database(wish.host) as (engine, _settings):
                    _look_until_next_wish(engine, costs, wish, wishes)
            except ConfigurationError as error:
                sys.stderr.write(f"The sale's rows cannot be watched: {error}\n")


def _look_until_next_wish(engine: Engine, costs: Costs, wish: WatchRequest, wishes: FileIO) -> None:
    """One line a second; none while the database is away."""
    next_at = time.monotonic()
    while not _input_within(wishes, next_at - time.monotonic()):
        next_at += EVERY_SECONDS
        try:
            with engine.connect() as connection:
                left, decisions, queued = connection.execute(LOOK, {"ids": wish.ticket_types}).one()
        except DATABASE_UNAVAILABLE:
            continue
        if left is not None:
            sample = RowSample(time.time(), left, decisions, queued, costs.cpu_seconds(wish.host))
            sys.stdout.buffer.write(msgspec.json.encode(sample) + b"\n")
            sys.stdout.buffer.flush()


def _input_within(wishes: FileIO, seconds: float) -> bool:
    readable, _, _ = select.select([wishes], [], [], max(0.0, seconds))
    return bool(readable)


if __name__ == "__main__":
    main()
