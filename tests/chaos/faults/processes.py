"""Processes of Eventify are killed, stopped, or restarted one after the other."""

import signal
from contextlib import suppress

import psutil

from tests.chaos.faults.fault import Effect, Fault, Turn
from tests.chaos.system import System, works
from tests.support.waiting import eventually

DIES_WITHIN_SECONDS = 30
# A stop finishes what is under way; a start imports everything again.
RESTARTS_WITHIN_SECONDS = 60


class WorkerChildKilled(Fault):
    """kill -9 of the processes that decide; Celery starts others."""

    effect = Effect.GOES_ON
    turn = Turn.WHILE_SUPERVISED

    def strike(self) -> None:
        for number in (1, 2):
            for child in self.system.process(f"worker-{number}").children():
                self.strikes += kill(child)


class _ProcessKilled(Fault):
    """kill -9 of one process; the supervisor starts it again."""

    name: str
    turn = Turn.WHILE_SUPERVISED

    def strike(self) -> None:
        self.strikes += kill(self.system.process(self.name))


class WorkerKilled(_ProcessKilled):
    """Its child goes on alone for a moment, which the other worker must bear."""

    name = "worker-1"
    effect = Effect.GOES_ON


class GatewayKilled(_ProcessKilled):
    """Whoever was connected to it has no answer; the other one goes on."""

    name = "gateway-1"
    effect = Effect.GOES_ON


class CatalogKilled(_ProcessKilled):
    """Selling does not need it."""

    name = "catalog-1"
    effect = Effect.GOES_ON


class SweeperKilled(_ProcessKilled):
    """No wake-up is lost meanwhile, so the workers decide everything."""

    name = "sweeper-1"
    effect = Effect.GOES_ON


class SenderKilled(_ProcessKilled):
    """What it had taken waits; the next one sends it."""

    name = "sender-1"
    effect = Effect.GOES_ON


class SupervisorKilled(Fault):
    """kill -9: everything goes on without it, until `eventify up` finds it and takes over."""

    effect = Effect.GOES_ON
    turn = Turn.LAST

    def strike(self) -> None:
        self.strikes += kill(psutil.Process(self.system.supervisor_pid))

    def heal(self) -> None:
        self.system.up()


class WorkerStopped(Fault):
    """SIGSTOP of a worker and its child, for longer than a wake-up counts as under way."""

    hold_seconds = 3.5
    effect = Effect.GOES_ON
    turn = Turn.WHILE_SUPERVISED

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self._stopped: list[psutil.Process] = []

    def strike(self) -> None:
        parent = self.system.process("worker-1")
        self._stopped = [parent, *parent.children()]
        for process in self._stopped:
            process.suspend()
            self.strikes += 1

    def heal(self) -> None:
        for process in self._stopped:
            with suppress(psutil.NoSuchProcess):  # something else has ended it
                process.resume()


class AllStoppedInTurn(Fault):
    """SIGTERM of every process, one after the other, each when the one before is back."""

    hold_seconds = 0.0
    turn = Turn.WHILE_SUPERVISED

    def strike(self) -> None:
        for name, before in self.system.processes().items():
            if before.pid is not None:
                with suppress(psutil.NoSuchProcess):  # the other fault of a pair has ended it
                    psutil.Process(before.pid).send_signal(signal.SIGTERM)
            eventually(
                lambda name=name, pid=before.pid: self._is_back(name, pid),
                retry_on=(AssertionError, psutil.Error),
                within_seconds=RESTARTS_WITHIN_SECONDS,
            )
            self.strikes += 1

    def _is_back(self, name: str, former_pid: int | None) -> None:
        process = self.system.processes()[name]
        assert works(process)
        assert process.pid != former_pid


class WholeSystemStopped(Fault):
    """`eventify down` in full swing, and `eventify up` again."""

    hold_seconds = 0.0
    turn = Turn.LAST

    def strike(self) -> None:
        self.system.operator.run("down")
        assert not self.system.processes()
        self.strikes += 1

    def heal(self) -> None:
        self.system.up()


def kill(process: psutil.Process) -> int:
    """kill -9; returns 1, or 0 if it had ended before."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return 0
    process.wait(DIES_WITHIN_SECONDS)
    return 1
