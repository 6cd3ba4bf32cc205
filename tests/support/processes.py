"""Processes of a test, which end with it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import AnyStr


@contextmanager
def killed_at_last(process: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """Killed at the end of the block, if it has not ended: `Popen` alone waits, also for ever."""
    with process:
        try:
            yield process
        finally:
            process.kill()
