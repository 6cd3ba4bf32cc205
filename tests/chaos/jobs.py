"""Rounds of chaos, held by one or more processes at once, each with a system of its own."""

import random
import shutil
import signal
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import chain
from multiprocessing import active_children, get_context
from pathlib import Path
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


def hold_rounds(run: Run) -> list[Result]:
    """Hold them all, and print a line for each; a round is the same whichever process holds it."""
    context = get_context("spawn")
    with _sigterm_stops_all(), ProcessPoolExecutor(run.jobs, context) as pool:
        shares = pool.map(_hold_share, [run] * run.jobs, range(1, run.jobs + 1))
        return list(chain.from_iterable(shares))


def _hold_share(run: Run, first: int) -> list[Result]:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    waiting = share(plan(run.only, run.seed), run.rounds, first, run.jobs)
    results: list[Result] = []
    for round_ in waiting:
        results += _on_one_system(run, chain([round_], waiting))
    return results


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


@contextmanager
def _sigterm_stops_all() -> Iterator[None]:
    """It comes to this process alone, Ctrl-C to its children too."""

    def stop(*_: object) -> None:
        for child in active_children():
            child.terminate()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
