"""Processes of Eventify die, or stand still."""


import psutil

from tests.chaos.faults.fault import Effect, Fault

DIES_WITHIN_SECONDS = 5


class WorkerChildKilled(Fault):
    """kill -9 of the process that decides; Celery starts another."""

    effect = Effect.GOES_ON

    def strike(self) -> None:
        for number in (1, 2):
            for child in self.system.process(f"worker-{number}").children():
                self.strikes += kill(child)


def kill(process: psutil.Process) -> int:
    """kill -9; returns 1 when it is dead."""
    process.kill()
    process.wait(DIES_WITHIN_SECONDS)
    return 1
