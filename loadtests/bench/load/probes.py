"""Controls beside a load: what the machine and the database do to something that does nothing.

A timer that is late is the machine's; a bare COMMIT that is late is the disk's, or the machine's.
Both run in the same seconds as the load, beside samples of what PostgreSQL's sessions wait for.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import msgspec
import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, lower case there

TIMER_SECONDS = 0.002
COMMIT_EVERY_SECONDS = 0.02
SAMPLE_EVERY_SECONDS = 0.02
# A record of WAL and its flush, and no row.
COMMIT = "SELECT pg_logical_emit_message(true, 'probe', '')"
WAITS = """
SELECT coalesce(wait_event_type || ':' || wait_event, 'CPU') FROM pg_stat_activity
WHERE application_name LIKE 'eventify-%' AND state = 'active'
"""


class Late(msgspec.Struct, frozen=True):
    """`at`: when it began, on the clock that all processes share."""

    at: float
    seconds: float


class Seen(msgspec.Struct, frozen=True):
    """What active sessions waited for at a moment."""

    at: float
    waits: list[str]


class Probes(msgspec.Struct, frozen=True):
    timers: list[Late]
    commits: list[Late]
    waits: list[Seen]

    def stalled(self, since: float, until: float, seconds: float) -> bool:
        """Whether a timer or a bare COMMIT was late by `seconds` in this time."""
        return any(
            late.seconds >= seconds and late.at < until and late.at + late.seconds > since
            for late in (*self.timers, *self.commits)
        )

    def waits_between(self, since: float, until: float) -> Iterator[str]:
        for seen in self.waits:
            if since <= seen.at <= until:
                yield from seen.waits


@contextmanager
def probing(database_url: str) -> Iterator[Probes]:
    """Probes until the block ends; to be used in a process without other work."""
    probes, over = Probes([], [], []), threading.Event()
    work: tuple[Callable[[], None], ...] = (
        lambda: _time_timers(probes.timers, over),
        lambda: _with_cursor(database_url, lambda c: _time_commits(c, probes.commits, over)),
        lambda: _with_cursor(database_url, lambda c: _sample_waits(c, probes.waits, over)),
    )
    with ThreadPoolExecutor(len(work)) as threads:
        running = [threads.submit(each) for each in work]
        try:
            yield probes
        finally:
            over.set()
            for each in running:
                each.result()


def probe(database_url: str, seconds: float) -> Probes:
    with probing(database_url) as probes:
        time.sleep(seconds)
    return probes


def _with_cursor(database_url: str, work: Callable[[Cursor], None]) -> None:
    with closing(psycopg2.connect(database_url, application_name="probe")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            work(cursor)


def _time_timers(timers: list[Late], over: threading.Event) -> None:
    while not over.is_set():
        began = time.monotonic()
        time.sleep(TIMER_SECONDS)
        timers.append(Late(began, time.monotonic() - began - TIMER_SECONDS))


def _time_commits(cursor: Cursor, commits: list[Late], over: threading.Event) -> None:
    while not over.wait(COMMIT_EVERY_SECONDS):
        began = time.monotonic()
        cursor.execute(COMMIT)
        commits.append(Late(began, time.monotonic() - began))


def _sample_waits(cursor: Cursor, waits: list[Seen], over: threading.Event) -> None:
    while not over.wait(SAMPLE_EVERY_SECONDS):
        at = time.monotonic()
        cursor.execute(WAITS)
        waits.append(Seen(at, [row[0] for row in cursor.fetchall()]))
