"""The programs of the supervisor."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

# Its last checkpoint may have gigabytes to write; killed, it would have them to replay.
POSTGRES_STOP_SECONDS = 60
# A process still closes its connections after its own limit.
STOP_MARGIN_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Program:
    """A command to keep running.

    `stop_seconds`: how long it may take to stop before it is killed. `kill_as_group`: its children
    are killed with it. `user`: the user to run it as, if not the caller. `environment`: for each of
    its own variables the name of the supervisor's variable with the value, or "" for an empty one.
    """

    name: str
    argv: tuple[str, ...]
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: int = 10
    kill_as_group: bool = False
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProgramGroup:
    """Programs that start and stop together. `autostart`: as soon as the supervisor runs."""

    name: str
    programs: tuple[Program, ...]
    autostart: bool = False
