"""`python -m loadtests.recording.sampling`: writes a sample of a sale's rows each second.

A program of its own, because psycopg2 would stop every user of a Locust process while it waits. It
reads a `WatchRequest` for each sale, writes a `RowSample` each second, both as lines of JSON, and
ends when its input does.
"""

import select
import sys
import time
from io import FileIO

import msgspec
from sqlalchemy import Engine, text

from loadtests.recording.costs import Costs
from loadtests.recording.database import open_database
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.errors import ConfigurationError

EVERY_SECONDS = 1.0
# Counters and lanes, and a count over the work list: it grows with the queue alone, not with the
# sale.
READ_COUNTERS = text("""
WITH event AS (SELECT DISTINCT event_id FROM ticket_types WHERE id = ANY(:ids))
SELECT sum(issued - held - sold)::bigint AS left, sum(held)::bigint AS held,
       (SELECT sum(number) FROM event JOIN lanes USING (event_id))::bigint AS decisions,
       (SELECT count(*) FROM event JOIN work_list USING (event_id) WHERE class = 1) AS queued
FROM event JOIN counters USING (event_id) WHERE ticket_type_id = ANY(:ids)
""")


class WatchRequest(msgspec.Struct, frozen=True):
    """Ticket types to sample, of the system whose gateway is `host`; none: stop sampling."""

    host: str
    ticket_types: list[int]


class RowSample(msgspec.Struct, frozen=True):
    """The ticket types together, and the CPU time taken so far.

    Attributes:
        at: seconds since 1970.
        left, held: of these ticket types.
        decisions: entries in the ledgers of their events.
        queued: purchases of their events.
        cpu_seconds: by service, see `costs`.
    """

    at: float
    left: int
    held: int
    decisions: int
    queued: int
    cpu_seconds: dict[str, float] = {}


def main() -> None:
    costs = Costs()
    # Unbuffered: what was read ahead would not be seen by select().
    with FileIO(sys.stdin.fileno(), closefd=False) as requests:
        for line in requests:
            request = msgspec.json.decode(line, type=WatchRequest)
            if not request.ticket_types:
                continue
            try:
                with open_database(request.host) as (engine, _settings):
                    _sample_until_next_request(engine, costs, request, requests)
            except ConfigurationError as error:
                sys.stderr.write(f"The sale's rows cannot be watched: {error}\n")


def sample_rows(engine: Engine, ticket_types: list[int]) -> RowSample | None:
    """A sample of the rows now; None where there is no such ticket type."""
    with engine.connect() as connection:
        row = connection.execute(READ_COUNTERS, {"ids": ticket_types}).one()
    if row.left is None:
        return None
    return RowSample(time.time(), row.left, row.held, row.decisions, row.queued)


def _sample_until_next_request(
    engine: Engine, costs: Costs, request: WatchRequest, requests: FileIO
) -> None:
    """Write one line a second; none while the database is unavailable."""
    next_at = time.monotonic()
    while not _input_within(requests, next_at - time.monotonic()):
        next_at += EVERY_SECONDS
        try:
            sample = sample_rows(engine, request.ticket_types)
        except DATABASE_UNAVAILABLE:
            continue
        if sample is not None:
            sample = msgspec.structs.replace(sample, cpu_seconds=costs.cpu_seconds(request.host))
            sys.stdout.buffer.write(msgspec.json.encode(sample) + b"\n")
            sys.stdout.buffer.flush()


def _input_within(requests: FileIO, seconds: float) -> bool:
    readable, _, _ = select.select([requests], [], [], max(0.0, seconds))
    return bool(readable)


if __name__ == "__main__":
    main()
