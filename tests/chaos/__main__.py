"""`make chaos`: round after round, two faults alone and then a random pair, and a table of it."""

import random
import secrets
import signal
import sys

import click

from tests.chaos.catalogue import (
    CONTROLS,
    FAILOVERS,
    FAULTS,
    PAYMENT_CONTROLS,
    STANDBY_CONTROLS,
)
from tests.chaos.jobs import Run, hold_rounds
from tests.chaos.payments import hold_race
from tests.chaos.plan import ALL, KINDS, OF_PAYMENTS
from tests.chaos.report import Report, control_table
from tests.chaos.round import Caught, caught_in_round, hold_round
from tests.chaos.system import a_system
from tests.chaos.system_with_standby import a_system_with_standby

MISSING = [
    f"{fault.__name__} needs {fault.needs}."
    for faults in (*FAULTS.values(), FAILOVERS)
    for fault in faults
    if fault.needs
]


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=len(ALL) * 3 // 2, show_default=True)
@click.option("--seed", type=int, help="Who buys what, and which faults meet; drawn if not given.")
@click.option(
    "--only",
    type=click.Choice(KINDS),
    help="Of this class, or pairs; failover: of a system whose database has a standby; "
    "payment: races of payments against the end of their holds; payment-failover: both.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Systems at once, each with a part of the rounds.",
)
@click.option("--controls", is_flag=True, help="Systems broken on purpose instead: each is caught.")
def main(rounds: int, seed: int | None, only: str | None, jobs: int, controls: bool) -> None:
    """Hold rounds on a system of its own. Exit code 1 if a promise was broken or a fault missed."""
    # Whoever asks us to stop finds nothing left running, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    click.echo(" ".join([f"Seed {seed}.", *MISSING]))
    sys.exit(
        _hold_controls(seed, only) if controls else _hold_rounds(Run(rounds, jobs, seed, only))
    )


def _hold_rounds(run: Run) -> int:
    report = Report()
    stopped = False
    try:
        for result in hold_rounds(run):
            report.add(result)
    except KeyboardInterrupt:
        stopped = True
        click.echo("Stopped: of the rounds that were held until then")
    click.echo(report.table())
    return 0 if report.ok and not stopped else 1


def _hold_controls(seed: int, only: str | None) -> int:
    caught: dict[str, Caught] = {}
    chance = random.Random(seed)
    for controls, hold, make in (
        (CONTROLS, hold_round, a_system),
        (PAYMENT_CONTROLS, hold_race, a_system),
        (STANDBY_CONTROLS, hold_race, a_system_with_standby),
    ):
        if only in OF_PAYMENTS and hold is not hold_race:
            continue
        for control, kind in controls:
            with make(control) as system:
                caught[control.name] = caught_in_round(system, kind(system), chance, hold)
            click.echo(f"{control.name}: caught in round {caught[control.name].round}")
    click.echo(control_table(caught))
    return 0 if all(each.violations for each in caught.values()) else 1


if __name__ == "__main__":
    main()
