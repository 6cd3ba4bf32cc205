"""The operator's command as a process: its package, `deploy`, may not be imported from here."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from shared.free_port import free_port

COMMAND = (sys.executable, "-P", "-c", "from deploy.cli.main import main; main()")


def eventify(*arguments: str, environment: Mapping[str, str] = os.environ) -> str:
    """The output of `eventify ARGUMENTS`.

    Raises:
        RuntimeError: it failed, with its output.
    """
    done = _run(arguments, environment)
    if done.returncode != 0:
        raise RuntimeError(f"eventify {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def running_system(environment: Mapping[str, str] = os.environ) -> dict[str, Any] | None:
    """`eventify status --json` of the system of this home; None where none runs."""
    done = _run(("status", "--json"), environment)
    if done.returncode != 0:
        return None
    status: dict[str, Any] = json.loads(done.stdout)
    return status


@contextmanager
def temporary_system(purpose: str, **settings: str) -> Iterator[dict[str, str]]:
    """A new system with nothing in it, in a temporary folder, until the block ends.

    Yields:
        The environment in which the command finds it.

    Raises:
        RuntimeError: it does not start, with the reason.
    """
    prefix = f"eventify-{purpose}-"
    with TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        others = {name: value for name, value in os.environ.items() if "EVENTIFY_" not in name}
        environment = others | settings | {"EVENTIFY_HOME": str(Path(folder) / "home")}
        try:
            eventify("up", "--detach", "--port", str(free_port()), environment=environment)
            yield environment
        finally:
            eventify("down", environment=environment)


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
