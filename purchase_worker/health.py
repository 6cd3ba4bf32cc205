"""Checks the health of a worker, sweeper or sender: `python -m purchase_worker.health worker`.

It prints one line and exits with 0 or 1. It reads the processes' heartbeat files and connects to
neither PostgreSQL nor the broker, so that no process is restarted because one of them is
unavailable.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from shared.observability.heartbeat import Beat, heartbeat_directory, last_beats

ROLES = ("worker", "sweeper", "sender")


def problems(beats: Sequence[Beat], now: float) -> list[str]:
    """One sentence for each process that is not healthy."""
    return [
        f"{beat.process} sent no heartbeat for {now - beat.beat_at:.0f} s"
        if now > beat.good_until
        else f"{beat.process} {beat.problem}"
        for beat in beats
        if beat.problem or now > beat.good_until
    ]


def verdict(folder: Path, role: str, now: float) -> tuple[bool, str]:
    """Whether there is a process of that role and each is healthy, and a sentence about it."""
    try:
        beats = list(last_beats(folder, role))
    except (OSError, ValueError) as error:
        return False, f"Cannot read the heartbeats in {folder}: {error}."
    if not beats:
        return False, f"No heartbeat from any {role} in {folder}."
    found = problems(beats, now)
    return not found, "; ".join(found or [f"{beat.process} is healthy" for beat in beats]) + "."


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in ROLES:
        print(f"usage: python -m purchase_worker.health {'|'.join(ROLES)}", file=sys.stderr)  # noqa: T201
        return 2
    # Not from Settings: loading pydantic would take longer than everything else here.
    folder = heartbeat_directory(os.environ.get("EVENTIFY_HEARTBEAT_DIR", ""))
    healthy, sentence = verdict(folder, arguments[0], time.monotonic())
    print(sentence)  # noqa: T201
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
