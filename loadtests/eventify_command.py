"""The operator's command, run as an operator runs it: what deploys Eventify stands above us."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

COMMAND = (sys.executable, "-P", "-c", "from deploy.cli.main import main; main()")


def eventify(*arguments: str, environment: Mapping[str, str] = os.environ) -> str:
    """What `eventify ARGUMENTS` prints.

    Raises:
        RuntimeError: it failed, with what it said.
    """
    done = _run(arguments, environment)
    if done.returncode != 0:
        raise RuntimeError(f"eventify {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def running_system(environment: Mapping[str, str] = os.environ) -> dict[str, Any] | None:
    """What `eventify status --json` tells of the system of this home; None where none runs."""
    done = _run(("status", "--json"), environment)
    if done.returncode != 0:
        return None
    status: dict[str, Any] = json.loads(done.stdout)
    return status


def _run(
    arguments: tuple[str, ...], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    # In a session of its own: Ctrl-C is the caller's, who then takes the system down.
    return subprocess.run(  # noqa: S603 - our own program
        [*COMMAND, *arguments],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
