"""Which faults strike in which round of `make chaos`. Pure."""

import random
from collections.abc import Iterator, Sequence

from tests.chaos.catalogue import FAILOVERS, PAYMENTS, POSSIBLE, random_pair
from tests.chaos.faults.fault import Fault

PAIRS, FAILOVER, PAYMENT = "pairs", "failover", "payment"
ALL = [fault for faults in POSSIBLE.values() for fault in faults]
KINDS = (*POSSIBLE, PAIRS, FAILOVER, PAYMENT)


def plan(only: str | None, seed: int) -> Iterator[list[type[Fault]]]:
    """The rounds in order, without end; the same for the same seed.

    In turns a fault alone and a pair, so that a short run has both; every fault is alone once
    before one is again.

    Args:
        only: faults of this class alone; PAIRS; FAILOVER; or PAYMENT.
        seed: which fault comes when, and which two meet.
    """
    chance = random.Random(seed)
    if only == PAIRS:
        while True:
            yield random_pair(chance)
    faults: Sequence[type[Fault]] = (
        [fault for fault in FAILOVERS if not fault.needs]
        if only == FAILOVER
        else PAYMENTS
        if only == PAYMENT
        else POSSIBLE[only]
        if only
        else ALL
    )
    while True:
        for fault in chance.sample(faults, len(faults)):
            yield [fault]
            if only is None:
                yield random_pair(chance)
