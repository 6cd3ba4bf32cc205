"""The master: puts the tickets on sale when a test starts, and sends the workers their part."""

from typing import Any

import gevent
import msgspec
from locust.env import Environment
from locust.exception import StopTest
from locust.rpc import Message
from locust.runners import MasterRunner, WorkerRunner

from loadtests.recording.listeners import recording
from loadtests.rehearsal.assignment import Rehearsal, take_part
from loadtests.rehearsal.opening import open_sale

# The message from the master to its workers, and theirs to it: one may have connected before it
# listened, so it asks as well.
REHEARSAL = "rehearsal"
REHEARSAL_WANTED = "rehearsal_wanted"


class Director:
    """Of one Locust that is no worker: of a master, or of a Locust that works alone."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._rehearsal: Rehearsal | None = None
        # Locust itself reports why a test was stopped: gevent need not print the traceback.
        gevent.get_hub().NOT_ERROR += (StopTest,)

    def on_test_start(self, **_more: Any) -> None:
        """Put the tickets on sale and share out the buyers, before the first of them comes.

        Raises:
            StopTest: something is missing.
        """
        options, runner = self._environment.parsed_options, self._environment.runner
        assert options is not None
        buyers = max(1, options.spike_users + (options.num_users or 0))
        try:
            ticket_types, tokens, payments = open_sale(str(self._environment.host), options, buyers)
        except StopTest:
            self._environment.process_exit_code = 1
            raise
        recording.watch(ticket_types)
        workers = runner.worker_count if isinstance(runner, MasterRunner) else 1
        self._rehearsal = Rehearsal(ticket_types, tokens, workers, payments)
        if isinstance(runner, MasterRunner):
            self._send(runner)
        else:
            take_part(self._rehearsal, 0)

    def on_wanted(self, environment: Environment, msg: Message, **_more: Any) -> None:
        if self._rehearsal is not None and isinstance(environment.runner, MasterRunner):
            self._send(environment.runner, msg.node_id)

    def _send(self, runner: MasterRunner, client_id: str | None = None) -> None:
        runner.send_message(REHEARSAL, msgspec.to_builtins(self._rehearsal), client_id)


def on_rehearsal(environment: Environment, msg: Message, **_more: Any) -> None:
    """On a worker."""
    assert isinstance(environment.runner, WorkerRunner)
    take_part(msgspec.convert(msg.data, Rehearsal), environment.runner.worker_index)
