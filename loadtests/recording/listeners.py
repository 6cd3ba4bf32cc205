"""Has each run of Locust recorded and checked, and gives Locust its exit code."""

import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtests.recording import last_reports, observations
from loadtests.recording.database import DATABASE_URL
from loadtests.recording.recorder import Recorder
from loadtests.recording.run import FILE
from loadtests.recording.sampler import Sampler
from loadtests.recording.sampling import RowSample

REPORTS = Path(__file__).parent.parent / "reports"
logger = logging.getLogger(__name__)


class Recording:
    """The runs of this process, one after the other; a worker records none.

    Attributes:
        recorder: of the run that goes on, or else the last one.
    """

    def __init__(self) -> None:
        self.recorder: Recorder | None = None
        self._sampler: Sampler | None = None
        self._environment: dict[str, str] = {}
        self._checking: gevent.Greenlet | None = None

    @property
    def is_checking(self) -> bool:
        """Whether a run is over and its verdict is still to come."""
        return self._checking is not None and not self._checking.ready()

    @property
    def latest(self) -> RowSample | None:
        return None if self._sampler is None else self._sampler.latest

    def prepare(self, environment: Environment, **_: Any) -> None:
        last_reports.listen(environment)
        if isinstance(environment.runner, WorkerRunner):
            return
        options = vars(environment.parsed_options)
        given = options["database_url"]
        self._environment = os.environ | ({DATABASE_URL: given} if given else {})
        # It may hold a password, and Locust's master sends all its options to its workers.
        options["database_url"] = ""
        self._sampler = Sampler(self._environment, self._note)

    def start(self, environment: Environment, **_: Any) -> None:
        if self._sampler is not None:
            self.recorder = Recorder(environment, _folder(environment))

    def watch(self, ticket_types: list[int]) -> None:
        """Sample these in this run; to be called on the master as soon as they are on sale."""
        if self.recorder is not None and self._sampler is not None:
            self.recorder.ticket_types = ticket_types
            self._sampler.watch(self.recorder.host, ticket_types)

    def keep(self, client_id: str, data: dict[str, Any]) -> None:
        lines = data.pop(observations.IN_REPORT, b"")
        if self.recorder is not None:
            self.recorder.keep_of_worker(client_id, lines)

    def collect(self, environment: Environment, **_: Any) -> None:
        if self.recorder is not None:
            self.recorder.collect()

    def stop(self, environment: Environment, **_: Any) -> None:
        """Begin the check; Locust goes on meanwhile, as its web UI must."""
        if self.recorder is not None and self._sampler is not None:
            self._sampler.watch(self.recorder.host, [])
            self._checking = gevent.spawn(self._conclude, environment, self.recorder)

    def quit(self, environment: Environment, **_: Any) -> None:
        """Wait for the verdict, also where Ctrl-C ended a run: Locust takes its exit code now."""
        if self.recorder is None:
            return
        self.recorder.end()
        if self._checking is not None:
            self._checking.join()

    def print_verdict(self, exit_code: int) -> None:
        """Once: without a web UI as the last thing, below Locust's own tables."""
        if self.recorder is not None:
            sys.stdout.write(self.recorder.verdict)
            sys.stdout.flush()
            self.recorder.verdict = ""

    def _note(self, sample: RowSample) -> None:
        if self.recorder is not None:
            self.recorder.timeline.add(sample)

    def _conclude(self, environment: Environment, recorder: Recorder) -> None:
        logger.info("Checking what users saw against the database ...")
        environment.process_exit_code = 1  # unless it is found better
        environment.process_exit_code = recorder.conclude(self._environment)
        logger.info("Exit code %d; report in %s", environment.process_exit_code, recorder.folder)
        if environment.web_ui is not None:
            self.print_verdict(environment.process_exit_code)


recording = Recording()


def attach() -> None:
    """Record and check every run from now on; to be called before other listeners are added."""
    events.init.add_listener(recording.prepare)
    events.test_start.add_listener(recording.start)
    events.report_to_master.add_listener(observations.add_to_report)
    events.worker_report.add_listener(recording.keep)
    events.test_stopping.add_listener(recording.collect)
    events.test_stop.add_listener(recording.stop)
    events.quitting.add_listener(recording.quit)
    events.quit.add_listener(recording.print_verdict)


def _folder(environment: Environment) -> Path:
    """The one that was asked for, for the first run of this process; else one named by the time."""
    given = vars(environment.parsed_options)["report_dir"]
    if given and not (Path(given) / FILE).exists():
        return Path(given)
    return REPORTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
