"""Wake-ups are lost, doubled, late, or out of order on their way to the workers."""

import random
from collections.abc import Sequence

from tests.chaos.faults.fault import Effect, Fault
from tests.chaos.system import System

LATE_SECONDS = 1.5
OUT_OF_ORDER_SECONDS = 0.4


class _WakeupFault(Fault):
    hold_seconds = 2.5
    effect = Effect.GOES_ON

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self._chance = random.Random(1)

    def arrives_after(self) -> Sequence[float]:
        """Seconds until each copy of a wake-up arrives."""
        raise NotImplementedError

    def strike(self) -> None:
        self._before = self.system.broker_line.tampered_with
        self.system.broker_line.fate = self.arrives_after

    def heal(self) -> None:
        self.system.broker_line.fate = None
        self.strikes += self.system.broker_line.tampered_with - self._before


class WakeupsDropped(_WakeupFault):
    """None arrives: the sweeper decides."""

    def arrives_after(self) -> Sequence[float]:
        return ()


class WakeupsDoubled(_WakeupFault):
    """Each arrives three times, so that several workers want the same queue."""

    def arrives_after(self) -> Sequence[float]:
        return (0.0, 0.0, 0.0)


class WakeupsReordered(_WakeupFault):
    def arrives_after(self) -> Sequence[float]:
        return (self._chance.uniform(0, OUT_OF_ORDER_SECONDS),)


class WakeupsDelayed(_WakeupFault):
    def arrives_after(self) -> Sequence[float]:
        return (LATE_SECONDS,)
