"""Which faults strike in which round of `make chaos`. Pure."""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product

from tests.chaos.catalogue import FAILOVERS, PAYMENT_MOMENTS, PAYMENTS, POSSIBLE, random_pair
from tests.chaos.faults.fault import Fault

PAIRS, FAILOVER, PAYMENT, PAYMENT_FAILOVER = "pairs", "failover", "payment", "payment-failover"
ALL = [fault for faults in POSSIBLE.values() for fault in faults]
KINDS = (*POSSIBLE, PAIRS, FAILOVER, PAYMENT, PAYMENT_FAILOVER)
ON_STANDBY = (FAILOVER, PAYMENT_FAILOVER)
OF_PAYMENTS = (PAYMENT, PAYMENT_FAILOVER)
Round = tuple[int, list[type[Fault]]]


def plan(only: str | None, seed: int) -> Iterator[list[type[Fault]]]:
    """The rounds in order, without end; the same for the same seed.

    After every two faults alone comes a pair, so that a short run has both; every fault is alone
    once before one is again.

    Args:
        only: faults of this class alone; PAIRS; FAILOVER; PAYMENT; or PAYMENT_FAILOVER: failovers,
            also at each moment of a payment.
        seed: which fault comes when, and which two meet.
    """
    chance = random.Random(seed)
    if only == PAIRS:
        while True:
            yield random_pair(chance)
    rounds = _rounds(only)
    while True:
        for place, faults in enumerate(chance.sample(rounds, len(rounds))):
            yield faults
            if only is None and place % 2 == 1:
                yield random_pair(chance)


def share(
    planned: Iterator[list[type[Fault]]], rounds: int, first: int, jobs: int
) -> Iterator[Round]:
    """With their numbers, every `jobs`th of the first `rounds`, from number `first` on."""
    return islice(enumerate(planned, 1), first - 1, rounds, jobs)


def _rounds(only: str | None) -> Sequence[list[type[Fault]]]:
    """Each of them once."""
    failovers: list[type[Fault]] = [fault for fault in FAILOVERS if not fault.needs]
    alone: Mapping[str | None, Sequence[type[Fault]]] = {
        None: ALL,
        **POSSIBLE,
        FAILOVER: failovers,
        PAYMENT: PAYMENTS,
        PAYMENT_FAILOVER: failovers,
    }
    pairs = product(PAYMENT_MOMENTS, failovers) if only == PAYMENT_FAILOVER else ()
    return [[fault] for fault in alone[only]] + [list(pair) for pair in pairs]
