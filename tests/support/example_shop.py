"""The programs of examples/shop, as they run beside Eventify."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "shop"


@contextmanager
def running(program: str, *arguments: str, **environment: str) -> Iterator[str]:
    """The address at which it serves."""
    command = [sys.executable, str(EXAMPLE / program), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | environment
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()
