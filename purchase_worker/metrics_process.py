"""Has what a worker's children count told by a process of its own.

A thread in the worker itself would stand beside its forks, and Celery may be busy waiting for its
broker just when somebody wants to see the figures.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory

from shared.config.settings import Settings

# Of prometheus-client, which looks for it when it is imported: so nothing here may import it.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
END_SECONDS = 5


@contextmanager
def metrics_of_children(settings: Settings) -> Iterator[None]:
    """Within, whatever is imported and counts does so in a folder, of which a process tells.

    Where no port is set, nothing is told, and all is as the environment says.
    """
    if settings.metrics_port == 0:
        yield
        return
    with ExitStack() as closing:
        if not os.environ.get(FOLDER_VARIABLE):
            folder = TemporaryDirectory(prefix="eventify-metrics-", ignore_cleanup_errors=True)
            os.environ[FOLDER_VARIABLE] = closing.enter_context(folder)
        # -P: a folder named `shared` where the operator stands must not be taken for ours.
        command = [sys.executable, "-P", "-m", "shared.observability.metrics_server"]
        teller = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - our own program
        closing.callback(_end, teller)
        yield


def _end(teller: subprocess.Popen[bytes]) -> None:
    assert teller.stdin is not None
    teller.stdin.close()
    try:
        teller.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        teller.kill()
        teller.wait()
