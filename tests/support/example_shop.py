"""The programs of examples/shop, as they run beside Eventify."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import killed_at_last

EXAMPLE = Path(__file__).parents[2] / "examples" / "shop"


@contextmanager
def running(program: str, *arguments: str, **environment: str) -> Iterator[str]:
    """The address at which it serves."""
    command = [sys.executable, str(EXAMPLE / program), *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | environment
    )
    with killed_at_last(process):
        assert process.stdout is not None
        yield process.stdout.readline().strip()
