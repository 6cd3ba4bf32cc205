"""Runs the audits that owners have asked for: one at a time, in a process beside the sweeper.

A row is claimed with a lease, which is renewed while its process runs: if the sweeper is gone,
another one begins the audit anew.
"""

import os
import subprocess
import sys
import time
from typing import Final, NamedTuple

import msgspec
from psycopg2.extensions import cursor
from sqlalchemy import Engine

from purchase_worker.audit.verdict import Verdict, not_run
from shared.database.engine import DATABASE_UNAVAILABLE, statement
from shared.observability.logging import get_logger
from shared.observability.multiprocess_metrics import DIRECTORY_VARIABLE

CLAIM_SECONDS: Final = 1.0
LEASE_SECONDS: Final = 30.0
RENEW_SECONDS: Final = 10.0
# 100,000 entries take a second of an idle core.
AUDIT_MAX_SECONDS: Final = 1_800.0
ATTEMPTS_MAX: Final = 3

# First the owner who had the fewest in the last hour: nobody's many events keep others waiting.
CLAIM = f"""
WITH recent AS MATERIALIZED (
    SELECT e.owner_id, count(*) AS ended
    FROM audits a JOIN events e ON e.id = a.event_id
    WHERE a.finished_at > now() - interval '1 hour'
    GROUP BY e.owner_id
)
UPDATE audits SET status = 'running', attempts = attempts + 1,
    lease_until = clock_timestamp() + make_interval(secs => {LEASE_SECONDS})
WHERE id = (
    SELECT a.id FROM audits a
    LEFT JOIN events e ON e.id = a.event_id
    LEFT JOIN recent ON recent.owner_id = e.owner_id
    WHERE a.status = 'queued' OR (a.status = 'running' AND a.lease_until < clock_timestamp())
    ORDER BY coalesce(recent.ended, 0), a.id LIMIT 1 FOR UPDATE OF a SKIP LOCKED)
RETURNING id, event_id, attempts
"""
MINE = "WHERE id = %(id)s AND attempts = %(attempts)s AND status = 'running'"
RENEW = f"""
UPDATE audits SET lease_until = clock_timestamp() + make_interval(secs => {LEASE_SECONDS}) {MINE}
"""
GIVE_BACK = f"UPDATE audits SET status = 'queued', lease_until = NULL {MINE}"
FINISH = f"""
UPDATE audits SET status = %(status)s, summary = %(summary)s, entries = %(entries)s,
    seconds = %(seconds)s, findings = %(findings)s::text[], finished_at = clock_timestamp(),
    lease_until = NULL {MINE}
"""

_verdict = msgspec.json.Decoder(Verdict)
logger = get_logger(__name__)


class Claimed(NamedTuple):
    """A row that is ours while its `attempts` are these."""

    id: int
    event_id: int
    attempts: int


class AuditRunner:
    """`step` it often: no call waits for an audit."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._claimed: Claimed | None = None
        self._process: subprocess.Popen[bytes] | None = None
        # That is not stored yet.
        self._verdict: Verdict | None = None
        self._began_at = self._renew_at = self._claim_at = 0.0

    def step(self) -> None:
        """Begin an audit, look whether it is done, or store its verdict.

        Raises:
            DATABASE_UNAVAILABLE: the next call goes on.
        """
        now = time.monotonic()
        if self._claimed is None:
            if now >= self._claim_at:
                self._claim_at = now + CLAIM_SECONDS
                self._begin(now)
            return
        if self._process is not None:
            self._watch(self._process, now)
        elif self._verdict is None:
            self._give_back()
        if self._verdict is not None:
            self._finish(self._claimed, self._verdict)

    def close(self) -> None:
        """End the running audit, which another sweeper begins anew."""
        if self._process is not None:
            self._end(self._process)
        if self._claimed is not None and self._verdict is None:
            try:
                self._give_back()
            except DATABASE_UNAVAILABLE as error:  # its lease ends
                logger.warning("audit_interrupted", error=str(error))

    def _begin(self, now: float) -> None:
        with statement(self._engine) as claiming:
            claiming.execute(CLAIM)
            row = claiming.fetchone()
        if row is None:
            return
        self._claimed = Claimed(*row)
        if self._claimed.attempts > ATTEMPTS_MAX:
            self._verdict = not_run(f"it was begun {ATTEMPTS_MAX} times and never ended")
            return
        self._began_at, self._renew_at = now, now + RENEW_SECONDS
        event_id = self._claimed.event_id
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "purchase_worker.audit.of_event", str(event_id)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Each would leave a file of counters until they are read.
                env={name: it for name, it in os.environ.items() if name != DIRECTORY_VARIABLE},
            )
        except OSError as error:  # too many processes, for example: it is given back, for a while
            self._claim_at = now + LEASE_SECONDS
            logger.warning("audit_interrupted", event_id=event_id, error=str(error))

    def _watch(self, process: subprocess.Popen[bytes], now: float) -> None:
        code = process.poll()
        if code is not None:
            assert process.stdout is not None
            output = process.stdout.read()
            self._end(process)
            self._verdict = self._verdict_of(code, output)
        elif now - self._began_at > AUDIT_MAX_SECONDS:
            self._end(process)
            self._verdict = not_run(f"it took longer than {AUDIT_MAX_SECONDS / 60:.0f} minutes")
        elif now >= self._renew_at:
            self._renew_at = now + RENEW_SECONDS
            if not self._change(RENEW):  # its event was deleted, or it is another sweeper's
                self._end(process)
                self._claimed = None

    def _verdict_of(self, code: int, output: bytes) -> Verdict | None:
        """None: it has to be begun once more."""
        assert self._claimed is not None
        if code == 0:
            return _verdict.decode(output)
        logger.warning("audit_interrupted", event_id=self._claimed.event_id, code=code)
        if self._claimed.attempts >= ATTEMPTS_MAX:
            return not_run("its process ended each time")
        return None

    def _give_back(self) -> None:
        self._change(GIVE_BACK)
        self._claimed = None

    def _finish(self, claimed: Claimed, verdict: Verdict) -> None:
        self._change(FINISH, verdict)
        logger.info(
            "audit_finished",
            event_id=claimed.event_id,
            status=verdict.status,
            entries=verdict.entries,
            seconds=verdict.seconds,
        )
        self._claimed = self._verdict = None

    def _change(self, change: str, verdict: Verdict | None = None) -> bool:
        """Returns whether the row is ours."""
        assert self._claimed is not None
        values = self._claimed._asdict() | (msgspec.structs.asdict(verdict) if verdict else {})
        changing: cursor
        with statement(self._engine) as changing:
            changing.execute(change, values)
            return changing.rowcount > 0

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None
