"""Whether the worker or the sweeper here is well: `python -m purchase_worker.health worker`.

The exit code is 0 or 1, and one line says why. It reads the processes' own heartbeat files
(heartbeat.py) and asks neither PostgreSQL nor the broker, so that no process is
restarted because one of them is unavailable.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from shared.observability.heartbeat import Beat, heartbeat_folder, last_beats

ROLES = ("worker", "sweeper")


def ailments(beats: Sequence[Beat], now: float) -> list[str]:
    """What is wrong with each process that is not well."""
    return [
        f"{beat.process} has said nothing for {now - beat.told_at:.0f} s"
        if now > beat.good_until
        else f"{beat.process} {beat.ailment}"
        for beat in beats
        if beat.ailment or now > beat.good_until
    ]


def verdict(folder: Path, role: str, now: float) -> tuple[bool, str]:
    """Whether every process of that role is well, and there is one; and a sentence that says so."""
    try:
        beats = list(last_beats(folder, role))
    except (OSError, ValueError) as error:
        return False, f"Cannot read the heartbeats in {folder}: {error}."
    if not beats:
        return False, f"No {role} tells of itself in {folder}."
    wrong = ailments(beats, now)
    return not wrong, "; ".join(wrong or [f"{beat.process} is well" for beat in beats]) + "."


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in ROLES:
        print(f"usage: python -m purchase_worker.health {'|'.join(ROLES)}", file=sys.stderr)  # noqa: T201
        return 2
    # Not through the settings, whose libraries take longer to load than all else that is done here.
    folder = heartbeat_folder(os.environ.get("EVENTIFY_HEARTBEAT_DIR", ""))
    well, sentence = verdict(folder, arguments[0], time.monotonic())
    print(sentence)  # noqa: T201
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
