"""Exports how far an event's time is ahead of PostgreSQL's clock.

It never goes back: a clock that was ahead when something was decided, and was set back since, has
left it there. New holds of that event end as much later.
"""

from sqlalchemy import Engine

from purchase_worker import metrics
from shared.database.engine import statement

READ_AHEAD = """
SELECT greatest(0, extract(epoch FROM max(at) - clock_timestamp()))::float8 FROM lanes
"""


def export(engine: Engine) -> None:
    """Set the metric; reads all lanes. Raises DATABASE_UNAVAILABLE."""
    with statement(engine) as cursor:
        cursor.execute(READ_AHEAD)
        (seconds,) = cursor.fetchone() or (0.0,)
    metrics.LANE_AHEAD_SECONDS.set(seconds)
