"""Samples a sale's rows from inside Locust, by a program of its own: `sampling`."""

import sys
from collections.abc import Callable, Mapping

import gevent
import msgspec
from gevent import subprocess

from loadtests.recording.sampling import RowSample, WatchRequest


class Sampler:
    """One program for as long as Locust runs, so that it need not start when a sale does.

    Attributes:
        latest: of the last second, if there is one.
    """

    def __init__(
        self, environment: Mapping[str, str], on_sample: Callable[[RowSample], None]
    ) -> None:
        self.latest: RowSample | None = None
        self._on_sample = on_sample
        # In a session of its own: Ctrl-C ends the run, and only then the sampling.
        self._program = subprocess.Popen(
            [sys.executable, "-m", "loadtests.recording.sampling"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
        gevent.spawn(self._read)

    def watch(self, host: str, ticket_types: list[int]) -> None:
        """Sample these from now on; or none, and keep the last sample."""
        if ticket_types:
            self.latest = None
        request = msgspec.json.encode(WatchRequest(host, ticket_types)) + b"\n"
        self._program.stdin.write(request)
        self._program.stdin.flush()

    def _read(self) -> None:
        for line in self._program.stdout:
            self.latest = msgspec.json.decode(line, type=RowSample)
            self._on_sample(self.latest)
