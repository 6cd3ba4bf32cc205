"""Commands of generators, compilers and generated clients, which all have to succeed."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.support.processes import killed_at_last

TIMEOUT_SECONDS = 100
# What each generated client is bought with.
PROGRAMS = Path(__file__).parent / "programs"
PYTHON_CLIENT = (
    *("openapi-python-client", "generate"),
    *("--output-path", ".", "--overwrite"),
)


def run(folder: Path, *command: str | Path) -> str:
    """Its output."""
    (output,) = run_together(folder, list(command))
    return output


def run_together(folder: Path, *commands: list[str | Path] | list[str]) -> list[str]:
    """Their outputs; commands of Python packages are found as in an activated environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with ExitStack() as ending:
        started = [
            ending.enter_context(
                killed_at_last(
                    subprocess.Popen(
                        command,
                        cwd=folder,
                        env=os.environ | {"PATH": path, "REDOCLY_TELEMETRY": "off"},
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                        text=True,
                    )
                )
            )
            for command in commands
        ]
        outputs = [one.communicate(timeout=TIMEOUT_SECONDS)[0] for one in started]
    for one, output in zip(started, outputs, strict=True):
        assert one.returncode == 0, f"{one.args}\n{output}"
    return outputs
