"""What every fault is."""

from abc import ABC, abstractmethod
from enum import IntEnum, StrEnum, auto
from typing import ClassVar

from tests.chaos.system import System

# Long enough for an answer that takes longer than the two seconds that are promised to be seen.
UNAVAILABLE_SECONDS = 4.0


class Effect(StrEnum):
    """What the buyers may expect while the fault lasts."""

    ANYTHING = auto()  # 503 or no answer; what was acknowledged is kept
    GOES_ON = auto()  # purchases are accepted and decided
    UNAVAILABLE = auto()  # 503, and soon: there is no database


class Turn(IntEnum):
    """When a fault strikes beside another, and is healed; so neither is made impossible."""

    WHILE_ALL_IS_WELL = auto()  # a process must still reach the moment
    WHILE_SUPERVISED = auto()  # the supervisor must still know the process
    ANY = auto()
    LAST = auto()  # starts everything again when it is healed


class Fault(ABC):
    """Strikes one system; `strikes` counts what really happened, not what was tried."""

    # How long it lasts at least before it is healed: until there is something to check.
    hold_seconds: ClassVar[float] = 1.0
    effect: ClassVar[Effect] = Effect.ANYTHING
    turn: ClassVar[Turn] = Turn.ANY
    # What this machine lacks, so that the fault cannot be made here.
    needs: ClassVar[str] = ""

    def __init__(self, system: System) -> None:
        self.system = system
        self.strikes = 0

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Blocking, before the sale: what would take too long at the moment of the strike."""

    @abstractmethod
    def strike(self) -> None:
        """Blocking; when it returns, the fault is there."""

    def heal(self) -> None:  # noqa: B027 - killed processes are started again by their supervisor
        """Blocking; when it returns, nothing keeps the system from being well."""
