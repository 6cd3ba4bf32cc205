"""Rounds of chaos, held by one or more processes at once, each with a system of its own."""

import random
import shutil
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from tempfile import mkdtemp

import click
import msgspec

from tests.chaos.checker import Violation
from tests.chaos.faults.fault import Fault
from tests.chaos.payments import hold_race
from tests.chaos.plan import OF_PAYMENTS, ON_STANDBY, Round, plan, share
from tests.chaos.round import HoldRound, Result, hold_round
from tests.chaos.system import System, a_system
from tests.chaos.system_with_standby import a_system_with_standby

HELD = "the round could be held"


class Run(msgspec.Struct, frozen=True):
    """Of `rounds` rounds, by `jobs` processes at once; `only` and `seed` as for `plan`."""

    rounds: int
    jobs: int
    seed: int
    only: str | None


def hold_rounds(run: Run) -> Iterator[Result]:
    """Hold them all, and print a line for each; a round is the same whichever process holds it.

    Raises:
        RuntimeError: a process ended before its rounds did.
    """
    context = get_context("spawn")
    held: Queue[Result] = context.Queue()
    jobs = [
        context.Process(target=_hold_share, args=(run, first, held))
        for first in range(1, run.jobs + 1)
    ]
    for job in jobs:
        job.start()
    try:
        # What a process has put is all there once it has ended.
        while any(job.is_alive() for job in jobs) or not held.empty():
            with suppress(Empty):
                yield held.get(timeout=1)
        if any(job.exitcode for job in jobs):
            raise RuntimeError("a process ended before its rounds did")
    finally:
        # SIGTERM came to this process alone, Ctrl-C to them too.
        for job in jobs:
            job.terminate()
        for job in jobs:
            job.join()


def _hold_share(run: Run, first: int, held: "Queue[Result]") -> None:
    for stop_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop_signal, _stop)
    waiting = share(plan(run.only, run.seed), run.rounds, first, run.jobs)
    with suppress(KeyboardInterrupt):
        for round_ in waiting:
            for result in _on_one_system(run, chain([round_], waiting)):
                held.put(result)


def _stop(*_: object) -> None:
    """Once: a system that is being stopped is stopped to its end."""
    for stop_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop_signal, signal.SIG_IGN)
    raise KeyboardInterrupt


def _on_one_system(run: Run, rounds: Iterator[Round]) -> Iterator[Result]:
    """Until there are no more of them, or one can't be held to its end: that is a violation."""
    hold: HoldRound = hold_race if run.only in OF_PAYMENTS else hold_round
    with a_system_with_standby() if run.only in ON_STANDBY else a_system() as system:
        for number, kinds in rounds:
            chance = random.Random(f"{run.seed} {number}")
            faults = [kind(system) for kind in kinds]
            try:
                result = hold(system, faults, chance)
            except Exception:  # whatever it was, the others are held
                yield _said(number, _not_held(faults), system)
                return
            yield _said(number, result, system)


def _said(number: int, result: Result, system: System) -> Result:
    click.echo(_line(number, result))
    if result.violations:
        click.echo(f"       logs: {_keep_logs(system)}")
    return result


def _not_held(faults: Sequence[Fault]) -> Result:
    return Result(
        faults=[type(fault).__name__ for fault in faults],
        strikes=[fault.strikes for fault in faults],
        violations=[Violation(HELD, traceback.format_exc())],
        purchases=0,
        recovered_seconds=None,
    )


def _keep_logs(system: System) -> Path:
    """The system's folder goes with it; a cause may be found in what its services wrote."""
    folder = Path(mkdtemp(prefix="eventify-chaos-"))
    shutil.copytree(system.home.logs, folder, dirs_exist_ok=True)
    return folder


def _line(number: int, result: Result) -> str:
    strikes = ", ".join(
        f"{name} {strikes}x" for name, strikes in zip(result.faults, result.strikes, strict=True)
    )
    recovered = result.recovered_seconds
    line = f"{number:4} {strikes}: {result.purchases} purchases, " + (
        "never recovered" if recovered is None else f"recovered in {recovered:.1f} s"
    )
    return "\n".join([line, *(f"       {v.promise}: {v.detail}" for v in result.violations)])
