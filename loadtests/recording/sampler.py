"""Watches a sale's rows from inside Locust, by the program that looks at them."""

import sys
from collections.abc import Callable, Mapping

import gevent
import msgspec
from gevent import subprocess

from loadtests.recording.sampling import RowSample, WatchRequest


class Sampler:
    """One program for as long as Locust runs, so that it need not start when a sale does.

    Attributes:
        latest: how the rows stood within the last second, where that is known.
    """

    def __init__(self, environment: Mapping[str, str], tell: Callable[[RowSample], None]) -> None:
        self.latest: RowSample | None = None
        self._tell = tell
        # In a session of its own: Ctrl-C ends the run, and only then the watching.
        self._program = subprocess.Popen(
            [sys.executable, "-m", "loadtests.recording.sampling"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
        gevent.spawn(self._read)

    def watch(self, host: str, ticket_types: list[int]) -> None:
        """Look at these from now on; or at none, and keep how the last ones stood."""
        if ticket_types:
            self.latest = None
        wish = msgspec.json.encode(WatchRequest(host, ticket_types)) + b"\n"
        self._program.stdin.write(wish)
        self._program.stdin.flush()

    def _read(self) -> None:
        for line in self._program.stdout:
            self.latest = msgspec.json.decode(line, type=RowSample)
            self._tell(self.latest)
