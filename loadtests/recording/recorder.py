"""Records one run of Locust into a folder, and has it checked.

It is kept where the figures come together: in Locust's master, or in its only process.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
from gevent import subprocess
from locust.argument_parser import default_args_dict
from locust.env import Environment

from loadtests.recording import last_reports, observations
from loadtests.recording.figures import (
    REQUEST_TO_202,
    REQUEST_TO_DECISION,
    REQUEST_TO_SOLD_OUT,
    SALE,
    waits,
)
from loadtests.recording.run import OBSERVATIONS_FILE, RecordedRun, Thresholds, write
from loadtests.recording.timeline import Timeline, answers, latency

EVERY_SECONDS = 1.0
# Elsewhere in the report, or secret: the database's URL may hold a password.
NOT_OF_THE_SALE = ("database_url", "payments_key", "report_dir", *Thresholds.__struct_fields__)


class Recorder:
    """One run, from its start to its verdict.

    Attributes:
        folder: where the report goes.
        host: the gateway that is tested.
        timeline: the run second by second, so far.
        ticket_types: which are on sale.
        verdict: with its reasons, as they are printed; empty until the check is over.
        exit_code: of the check; None while there is none.
    """

    def __init__(self, environment: Environment, folder: Path) -> None:
        assert environment.runner is not None, "a run has begun"
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.host = folder, str(environment.host)
        self.timeline = Timeline()
        self.ticket_types: list[int] = []
        self.verdict = ""
        self.exit_code: int | None = None
        self._environment, self._runner = environment, environment.runner
        self._options = vars(environment.parsed_options)
        self._began = time.monotonic()
        self._observations = (folder / OBSERVATIONS_FILE).open("wb")
        self._ticking = gevent.spawn(self._tick)
        self._workers: set[str] = set()
        self._reported: set[str] = set()

    def keep(self, lines: bytes) -> None:
        """Write down what buyers saw; what comes when the run is over is of no run."""
        if not self._observations.closed:
            self._observations.write(lines)

    def keep_of_worker(self, worker: str, lines: bytes) -> None:
        self._workers.add(worker)
        self.keep(lines)

    def collect(self) -> None:
        """Have the workers report all they know, while they can still be asked."""
        self._reported = last_reports.collect(self._environment)

    def end(self) -> None:
        self._runner.quit()

    def conclude(self, environment: Mapping[str, str]) -> int:
        """Write the run down and have it checked; returns the exit code.

        Args:
            environment: of the program that checks, which finds the database in it.
        """
        self._ticking.kill()
        self.keep(observations.take())
        self._observations.close()
        write(self._run(), self.folder)
        checking = subprocess.run(
            [sys.executable, "-m", "loadtests.verdict.check", str(self.folder)],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C ended the run, and shall not end its check
        )
        self.verdict = checking.stdout
        # A killed program has a negative exit code, which would be taken for another one.
        self.exit_code = max(1, checking.returncode) if checking.returncode else 0
        return self.exit_code

    def _tick(self) -> None:
        while True:
            self.timeline.tick(self._runner.user_count, self._environment.stats)
            self.keep(observations.take())
            gevent.sleep(EVERY_SECONDS)

    def _run(self) -> RecordedRun:
        stats, options = self._environment.stats, self._options
        moments = self.timeline.moments(stats)
        return RecordedRun(
            started_at=datetime.fromtimestamp(self.timeline.started, UTC).isoformat(),
            seconds=round(time.monotonic() - self._began, 1),
            host=self.host,
            arguments=_custom_arguments(options),
            ticket_types=self.ticket_types,
            requests=stats.total.num_requests,
            failures=stats.total.num_failures,
            users_max=max(moment.users for moment in moments),
            to_202=latency(stats.get(REQUEST_TO_202, SALE).response_times),
            to_decision=latency(waits(stats, REQUEST_TO_DECISION)),
            to_sold_out=latency(stats.get(REQUEST_TO_SOLD_OUT, SALE).response_times),
            answers=answers(stats),
            moments=moments,
            cpu_seconds=self.timeline.cpu_seconds(),
            thresholds=Thresholds(**{name: options[name] for name in Thresholds.__struct_fields__}),
            errors=list(self._errors()),
        )

    def _errors(self) -> Iterator[str]:
        for worker in sorted(self._workers - self._reported):
            yield f"worker {worker} did not report what its users saw last"
        if skew := self.timeline.clock_error_seconds(self._environment.stats):
            side = "ahead of" if skew > 0 else "behind"
            yield (
                f"a worker's clock is {abs(skew):,} s {side} its master's: figures by second are"
                " not valid"
            )
        for exception in self._runner.exceptions.values():
            yield f"{exception['count']:,} users raised {exception['msg']}"


def _custom_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The load test's own arguments, which are not Locust's, as they were given."""
    others = {*default_args_dict(), *NOT_OF_THE_SALE}
    return {name: value for name, value in options.items() if name not in others}
