"""What a control is: a system that is broken in one way, and what the database then lacks too."""

from dataclasses import dataclass
from pathlib import Path

BROKEN_VERSIONS = Path(__file__).parent / "controls"


@dataclass(frozen=True, slots=True)
class Control:
    """`name`: the module in `controls/` that breaks the code. `without`: SQL that takes away the
    database's own guards of the same promise, where they would hold it alone."""

    name: str
    without: str = "SELECT"

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process run the broken version."""
        return {"PYTHONPATH": str(BROKEN_VERSIONS), "EVENTIFY_CHAOS_CONTROL": self.name}
