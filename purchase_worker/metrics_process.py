"""Serves the metrics of a worker's children from a process of its own.

A thread in the worker would be there when it forks, and Celery may wait for its broker just when
the metrics are needed.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory

from shared.config.settings import Settings

# prometheus-client reads it when it is imported, so nothing here may import that.
DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
END_SECONDS = 5


@contextmanager
def metrics_of_children(settings: Settings) -> Iterator[None]:
    """Within, what is imported counts in a folder whose metrics are served.

    Without `metrics_port` nothing is served, and the environment is left as it is.
    """
    if settings.metrics_port == 0:
        yield
        return
    with ExitStack() as closing:
        if not os.environ.get(DIRECTORY_VARIABLE):
            folder = TemporaryDirectory(prefix="eventify-metrics-", ignore_cleanup_errors=True)
            os.environ[DIRECTORY_VARIABLE] = closing.enter_context(folder)
        # -P: a folder named `shared` in the working directory must not be imported instead of ours.
        command = [sys.executable, "-P", "-m", "shared.observability.metrics_server"]
        server = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - our own program
        closing.callback(_end, server)
        yield


def _end(server: subprocess.Popen[bytes]) -> None:
    assert server.stdin is not None
    server.stdin.close()
    try:
        server.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
